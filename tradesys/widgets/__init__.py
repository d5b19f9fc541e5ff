"""Widgets for notebooks: a desk to work at, and each of its parts alone.

Shown in JupyterLab or as a web app (Voila) they are live; in a notebook that papermill has run, in
nbconvert's HTML and in the repository they are pictures.
"""

from tradesys.widgets.account import AccountPanel
from tradesys.widgets.background_runner import Pulse
from tradesys.widgets.blotter import Blotter
from tradesys.widgets.desk import Desk
from tradesys.widgets.inquiry import InquiryPanel
from tradesys.widgets.network_view import NetworkView
from tradesys.widgets.order_story import OrderStory
from tradesys.widgets.ticket import OrderTicket

__all__ = [
    "AccountPanel",
    "Blotter",
    "Desk",
    "InquiryPanel",
    "NetworkView",
    "OrderStory",
    "OrderTicket",
    "Pulse",
]
