// Asks now and then what is connected, while somebody looks. Without this file it is as it was when the page was made.
const list = document.querySelector("[data-status-url]");
const places = new Map([...list.querySelectorAll("[data-client]")].map((place) => [place.dataset.client, place]));
const SECONDS = 5;

async function look() {
  if (document.hidden) {
    return true;
  }
  try {
    const response = await fetch(list.dataset.statusUrl, { headers: { Accept: "application/json" } });
    const told = await response.json();
    for (const [client, place] of places) {
      const text = told.clients[client] ?? "";
      if (place.textContent !== text) {
        place.textContent = text;
      }
      place.hidden = !text;
    }
    return told.signed_in;
  } catch {
    return true; // the server or the network is away for a moment
  }
}

async function goOn() {
  if (await look()) {
    setTimeout(goOn, SECONDS * 1000);
  }
}

document.addEventListener("visibilitychange", look);
setTimeout(goOn, SECONDS * 1000);
