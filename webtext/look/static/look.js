// Keys of buttons and links (data-key), and views that refresh themselves (data-live).

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
async function refresh(element) {
  try {
    const answer = await fetch(element.dataset.live);
    if (answer.ok) element.innerHTML = await answer.text();
  } catch {
    // The server may be gone for a moment; the next round asks again.
  }
  setTimeout(refresh, LIVE_MS, element);
}

for (const element of document.querySelectorAll("[data-live]")) {
  setTimeout(refresh, LIVE_MS, element);
}
