// Keys of buttons and links (data-key), views that refresh themselves (data-live),
// and parts that come after the page (data-once).

const typing = (target) => target.closest("input, textarea, select") !== null;

document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  for (const element of document.querySelectorAll("[data-key]")) {
    if (element.dataset.key === event.key) {
      event.preventDefault();
      element.click();
      return;
    }
  }
});

const LIVE_MS = 2000;

// The server escapes every value, and the policy forbids scripts in what is put in.
async function load(element, address) {
  try {
    const answer = await fetch(address);
    if (answer.ok) element.innerHTML = await answer.text();
  } catch {
    // The server may be gone for a moment; a live view asks again.
  }
}

async function refresh(element) {
  await load(element, element.dataset.live);
  setTimeout(refresh, LIVE_MS, element);
}

for (const element of document.querySelectorAll("[data-live]")) {
  setTimeout(refresh, LIVE_MS, element);
}
for (const element of document.querySelectorAll("[data-once]")) load(element, element.dataset.once);
