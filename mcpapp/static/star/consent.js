// Keeps the boxes and the list of tools true to each other. Without this file the server does the same with the answer.
const boxes = [...document.querySelectorAll('input[type="checkbox"][name="scopes"]')];
const tools = [...document.querySelectorAll("#tools [data-scopes]")];
const words = (text) => text.split(" ").filter(Boolean);
const includes = (box) => words(box.dataset.includes);

function show() {
  const offered = new Set(boxes.map((box) => box.value));
  const allowed = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  for (const tool of tools) {
    tool.hidden = words(tool.dataset.scopes).some((scope) => offered.has(scope) && !allowed.has(scope));
  }
  for (const group of document.querySelectorAll("#tools details")) {
    const left = [...group.querySelectorAll("[data-scopes]")].filter((tool) => !tool.hidden).length;
    group.querySelector(".count").textContent = left;
    group.hidden = left === 0;
  }
}

for (const box of boxes) {
  box.addEventListener("change", () => {
    for (const other of boxes) {
      if (box.checked && includes(box).includes(other.value)) {
        other.checked = true;
      } else if (!box.checked && includes(other).includes(box.value)) {
        other.checked = false;
      }
    }
    show();
  });
}
show();

// A link of a program's own leaves this page where it is: say so, and take the question away, which is answered.
const form = document.getElementById("consent");
const sent = document.getElementById("sent");
if (sent) {
  form.addEventListener("submit", () => {
    setTimeout(() => {
      form.hidden = true;
      sent.hidden = false;
      sent.focus();
    }, 300);
  });
}
