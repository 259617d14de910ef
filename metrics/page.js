// Refreshes the page every 10 seconds, except while text is selected, so that an id
// can be copied. Only #page is replaced: links outside keep the focus.
const note = (text, lost) => { const n = document.getElementById("note"); n.textContent = text; n.hidden = !text; n.className = lost ? "lost" : ""; };
const selected = () => !getSelection().isCollapsed;
setInterval(async () => {
  if (selected()) return note("Not refreshed while text is selected.");
  try {
    const answer = await fetch("", {signal: AbortSignal.timeout(9000)});
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!next.getElementById("page")) throw answer;
    if (selected()) return;
    document.getElementById("page").replaceWith(next.getElementById("page"));
    document.title = next.title;
    note("");
  } catch {
    document.title = "? " + document.title.replace(/^\S+ /, "");
    note("The program does not answer: this is how things stood when it last did.", true);
  }
}, 10000);
