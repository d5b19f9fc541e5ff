// Shows HTML that Python makes, changing only what has changed, so that nothing flickers and what
// has the focus keeps it. What is clicked goes back to Python by its data-do.

function morph(old, next) {
  if (
    old.nodeType !== next.nodeType ||
    old.nodeName !== next.nodeName ||
    old.childNodes.length !== next.childNodes.length
  ) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name } of [...old.attributes])
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const children = [...next.childNodes];
  [...old.childNodes].forEach((child, i) => morph(child, children[i]));
}

function render({ model, el }) {
  el.classList.add("tradesys");
  const show = () => {
    const next = document.createElement("div");
    next.innerHTML = model.get("html");
    if (el.firstChild) morph(el.firstChild, next);
    else el.append(next);
  };
  const act = (event) => {
    const target = event.target.closest("[data-do]");
    if (!target || !el.contains(target)) return;
    event.preventDefault();
    model.send({ do: target.dataset.do });
  };
  el.addEventListener("click", act);
  el.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") act(event);
  });
  model.on("change:html", show);
  show();
  return () => model.off("change:html", show);
}

export default { render };
