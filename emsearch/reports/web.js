// Keeps a page up to date: every few seconds its main part is asked for again and replaced where
// it has changed. What the server sends is escaped already; nothing of it is run.
"use strict";
const everyMs = 3000;
let tag = null;

async function refresh() {
  if (document.hidden || document.querySelector("form :focus")) return;
  const headers = tag ? { "If-None-Match": tag } : {};
  const answer = await fetch(location.href, { headers, cache: "no-store" });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(answer.statusText);
  tag = answer.headers.get("ETag");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = [...document.querySelectorAll("main details")].map((one) => one.open);
  const main = document.querySelector("main");
  const next = fresh.querySelector("main");
  if (!next || main.innerHTML === next.innerHTML) return;
  main.replaceWith(next);
  document.querySelectorAll("main details").forEach((one, place) => { one.open = open[place] ?? false; });
}

async function turn() {
  const said = document.querySelector("#connection");
  try {
    await refresh();
    said.textContent = "";
  } catch {
    said.textContent = "No answer from emsearch web; these figures are old.";
  }
  setTimeout(turn, everyMs);
}
setTimeout(turn, everyMs);
