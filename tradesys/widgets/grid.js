// Beside a Perspective grid: says that it is ready, which of its rows is clicked, and whether the
// page is dark.

function render({ model, el }) {
  el.style.display = "none";
  const box = () => el.closest(".widget-vbox, .jupyter-widgets-view") ?? document;
  let grid = null;
  const hear = (event) => {
    model.set("row", event.detail?.row ?? {});
    model.save_changes();
  };
  // Until it has been loaded, a grid refuses to say what it shows.
  const ready = (asked) =>
    asked.getTable().then(
      () => model.send("ready"),
      () => asked.isConnected && setTimeout(ready, 50, asked),
    );
  const tie = () => {
    const found = box().querySelector("perspective-viewer");
    if (found === grid || !found) return;
    grid?.removeEventListener("perspective-click", hear);
    grid = found;
    grid.addEventListener("perspective-click", hear);
    ready(grid);
  };
  const themed = () => {
    const dark = document.body.dataset.jpThemeLight === "false";
    if (model.get("dark") === dark) return;
    model.set("dark", dark);
    model.save_changes();
  };
  const watch = new MutationObserver(tie);
  const theme = new MutationObserver(themed);
  requestAnimationFrame(() => {
    watch.observe(box(), { childList: true, subtree: true });
    theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    tie();
    themed();
  });
  return () => {
    watch.disconnect();
    theme.disconnect();
  };
}

export default { render };
