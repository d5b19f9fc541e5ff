"""The statements of the job in set-based SQL, which SQLite and PostgreSQL both know.

``{s}`` is the database of the system that runs it, ``:name`` a parameter. A database has its
system's datasets as tables, and of what follows from them only what a check needs at once: the
open orders and the balances, kept up to date by each step.
"""

import pyarrow as pa

from tradesys.records.schemas import EXECUTIONS, SCHEMAS, held

GIVEN = (
    *("record_id", "ts", "request_type", "order_id", "cl_ord_id", "orig_cl_ord_id", "account"),
    *("symbol", "side", "ord_type", "time_in_force", "order_qty", "price"),
)
"""The columns of a request as it is handed in, its id given already."""

FILLS = ("event", "ts", "account", "cl_ord_id", "last_qty", "last_px")
_BIGINTS = ("record_id", "ts", "order_id", "order_qty", "price", "event", "last_qty", "last_px")
STAGED, DUE = (
    ", ".join(f"{n} {'bigint' if n in _BIGINTS else 'text'}" for n in names)
    for names in (GIVEN, FILLS)
)

OPEN_ORDERS = """order_id bigint primary key, account text, name text, cl_ord_id text, symbol text,
side text, order_qty bigint, price bigint, leaves bigint"""
"""``name`` is that of the order when it was new, ``cl_ord_id`` that of its last replace."""


def of_schema(dataset: str, key: str) -> str:
    """The columns of a dataset, all of those that ours hold."""
    kinds = {pa.utf8(): "text", pa.date32(): "integer", pa.bool_(): "integer"}
    columns = {f.name: kinds.get(f.type, "bigint") for f in held(SCHEMAS[dataset])}
    return ", ".join(f"{n} {key if n == 'record_id' else kind}" for n, kind in columns.items())


FIND = """update staged set order_id = o.order_id from {s}orders o where staged.order_id is null
and o.account = staged.account and o.cl_ord_id = staged.orig_cl_ord_id"""
FIND_IN_STEP = """update staged set order_id = f.order_id from staged f
where staged.order_id is null and f.order_id is not null and f.request_type <> 'cancel'
and f.account = staged.account and f.cl_ord_id = staged.orig_cl_ord_id"""
WRONG = """select record_id, wrong from (select s.record_id, case
when a.account is null then 'account' when i.symbol is null then 'symbol'
when s.side not in ('buy', 'sell') then 'side'
when s.order_qty <= 0 or s.order_qty % i.lot_size <> 0 then 'order_qty'
when s.price <= 0 or s.price % i.tick_size <> 0 then 'price'
when s.order_id is null then 'orig_cl_ord_id' end as wrong
from staged s left join {s}accounts a on a.account = s.account
left join {s}instruments i on i.symbol = s.symbol) checked where wrong is not null"""
TOO_MUCH = """select 1 from (select account, side, symbol,
case side when 'buy' then 'USD' else symbol end as asset,
sum(case side when 'buy' then order_qty * price else order_qty end) as need
from staged where request_type <> 'cancel' group by account, side, symbol) n
left join {s}balances b on b.account = n.account and b.asset = n.asset
where need > coalesce(b.amount, 0) - (select
coalesce(sum(case side when 'buy' then leaves * price else leaves end), 0) from {s}orders o
where o.account = n.account and o.side = n.side and (o.side = 'buy' or o.symbol = n.symbol))
limit 1"""
RECORD = f"""insert into {{s}}requests select {", ".join(GIVEN[:11])}, null, order_qty, price, null,
:now from staged where true on conflict do nothing"""
"""A name that was used before is found by the unique index, and its row left out."""

NEW_ORDERS = """insert into {s}orders select record_id, account, cl_ord_id, cl_ord_id, symbol, side,
order_qty, price, order_qty from {source} r
where r.record_id >= :first and r.record_id < :stop and r.request_type = 'new' {mine}"""
REPLACED = """update {s}orders set cl_ord_id = r.cl_ord_id, order_qty = r.order_qty,
price = r.price, leaves = leaves + r.order_qty - orders.order_qty from {source} r
where r.record_id in (select max(record_id) from {source} l where l.record_id >= :first
and l.record_id < :stop and l.request_type = 'replace' group by l.order_id)
and r.order_id = orders.order_id"""
CHANGED_BY = {"new": NEW_ORDERS, "replace": REPLACED}
"""What requests make of open orders."""

EXECUTE = f"""insert into {{s}}executions select
:first + row_number() over (order by moment, is_fill, id) - 1, :now,
:event + row_number() over (order by moment, is_fill, id) - 1, exec_type, null, request_id,
{", ".join(EXECUTIONS.names[6:13])}, time_in_force, null, order_qty, price, last_qty, last_px, null,
moment, 'TAPE', 0, :now from (select ts as moment, 0 as is_fill, record_id as id, case request_type
when 'new' then 'new' when 'cancel' then 'canceled' else 'replaced' end as exec_type,
record_id as request_id, order_id, cl_ord_id, orig_cl_ord_id, account, symbol, side, ord_type,
time_in_force, order_qty, price, 0 as last_qty, 0 as last_px from ({{sent}}) r
where symbol in ({{symbols}}) union all select f.ts, 1, f.event, 'trade', o.order_id, o.order_id,
o.cl_ord_id, null, o.account, o.symbol, o.side, 'limit', 'day', o.order_qty, o.price, f.last_qty,
f.last_px from due f join {{s}}orders o on o.account = f.account and o.name = f.cl_ord_id) e"""

_NEW = "record_id >= :first and record_id < :stop"
FILLED = (
    f"""update {{s}}orders set leaves = leaves - t.qty from (select order_id, sum(last_qty) as qty
    from {{s}}executions where {_NEW} and exec_type = 'trade' group by order_id) t
    where t.order_id = orders.order_id""",
    f"""delete from {{s}}orders where leaves <= 0 and order_id in (select order_id
    from {{s}}executions where {_NEW} and exec_type = 'trade')""",
)
CANCELED = (
    f"""delete from {{s}}orders where order_id in (select order_id from {{s}}executions
    where {_NEW} and exec_type = 'canceled')""",
)
"""What executions make of open orders."""

CLEAR = f"""insert into {{s}}postings select
:base + row_number() over (order by record_id, leg) - 1, :now, exec_id,
case when leg in (1, 3) then account else 'clearing' end,
case when leg < 3 then symbol else 'USD' end,
case leg when 1 then 1 when 2 then -1 when 3 then -last_px else last_px end
* case side when 'buy' then last_qty else -last_qty end, :settle_date, :now
from {{s}}executions, (select 1 as leg union all select 2 union all select 3 union all select 4) l
where {_NEW} and exec_type = 'trade'"""
POST = f"""insert into {{s}}balances select account, asset, sum(amount) from {{s}}postings
where {_NEW} group by account, asset
on conflict (account, asset) do update set amount = balances.amount + excluded.amount"""

STATUSES = """select e.cl_ord_id, case when cum >= e.order_qty then 'filled'
when canceled = 1 then 'canceled' when cum > 0 then 'partially_filled' else 'new' end, e.order_qty,
cum, case when canceled = 1 or cum >= e.order_qty then 0 else e.order_qty - cum end
from (select max(case when exec_type in ('new', 'replaced') then record_id end) as last,
sum(last_qty) as cum, max(case exec_type when 'canceled' then 1 else 0 end) as canceled
from {s}executions group by order_id) f join {s}executions e on e.record_id = f.last"""
HOLDINGS = """select account, asset, sum(amount) from {s}postings
where account not in ('clearing', 'capital', 'fees') group by account, asset"""
