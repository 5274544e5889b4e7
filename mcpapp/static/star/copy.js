// Shows the copy buttons where the browser can copy. Without this file the text is there to select.
const status = document.getElementById("copy-status");

for (const place of document.querySelectorAll("[data-copyable]")) {
  const source = place.querySelector("code");
  const button = place.querySelector("button");
  if (!source || !button) {
    continue;
  }
  const label = button.textContent;
  let timer;

  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // The browser said no: leave the text selected, ready for the keyboard.
      window.getSelection().selectAllChildren(source);
      return;
    }
    button.textContent = status.textContent = button.dataset.copied;
    clearTimeout(timer);
    timer = setTimeout(() => {
      button.textContent = label;
      status.textContent = "";
    }, 2000);
  });
  // Browsers have a clipboard on https and loopback pages only.
  button.hidden = !navigator.clipboard;
}
