// Beside a Perspective grid: says that it is ready and which of its rows is clicked, and lets it
// follow the page's theme.

const THEME = "data-jp-theme-light";

function render({ model, el }) {
  el.style.display = "none";
  const box = () => el.closest(".widget-vbox, .jupyter-widgets-view") ?? document;
  let grid = null;
  const hear = (event) => {
    model.set("row", event.detail?.row ?? {});
    model.save_changes();
  };
  // A grid refuses to be asked until it is loaded, and forgets its columns when its theme changes
  // before it has been restored: then it is sorted, as every grid here is.
  const ready = async (asked) => {
    const restored = await asked.save().then((is) => is.sort?.length > 0, () => false);
    if (restored) {
      model.send("ready");
      theme.observe(document.body, { attributes: true, attributeFilter: [THEME] });
      themed();
    } else if (asked.isConnected) setTimeout(ready, 50, asked);
  };
  const tie = () => {
    const found = box().querySelector("perspective-viewer");
    if (found === grid || !found) return;
    grid?.removeEventListener("perspective-click", hear);
    grid = found;
    grid.addEventListener("perspective-click", hear);
    ready(grid);
  };
  // Each view of a grid for itself: one that is still being restored hears of no change.
  const themed = () => {
    const dark = document.body.getAttribute(THEME) === "false";
    grid.restore({ theme: dark ? "Pro Dark" : "Pro Light" });
  };
  const watch = new MutationObserver(tie);
  const theme = new MutationObserver(themed);
  requestAnimationFrame(() => {
    watch.observe(box(), { childList: true, subtree: true });
    tie();
  });
  return () => {
    watch.disconnect();
    theme.disconnect();
  };
}

export default { render };
