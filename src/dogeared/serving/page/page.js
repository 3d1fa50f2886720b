// The page as a whole: its views, its language and its colours.

import { ask, showAgain } from "./ask.js";
import { useToken } from "./dom.js";
import { showRun } from "./run.js";
import { say, speak, spoken } from "./words.js";

const VIEWS = ["ask", "run"];
const byId = (id) => document.getElementById(id);

function view() {
  const wanted = location.hash.slice(1);
  return VIEWS.includes(wanted) ? wanted : "ask";
}

function showView() {
  for (const name of VIEWS) {
    byId(`view-${name}`).hidden = name !== view();
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view() === "run") showRun();
}

function showWords() {
  document.documentElement.lang = spoken();
  for (const element of document.querySelectorAll("[data-words]")) element.textContent = say(element.dataset.words);
  for (const element of document.querySelectorAll("[data-words-label]")) {
    element.setAttribute("aria-label", say(element.dataset.wordsLabel));
  }
  showAgain();
  if (view() === "run") showRun();
}

function submit() {
  const question = byId("question").value.trim();
  const count = byId("count").value;
  if (question) ask(question, count ? Number(count) : null);
}

/** What was chosen before, where the browser keeps it. */
function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // a browser that keeps nothing forgets it with the page
  }
}

function setColours(name) {
  if (name) document.documentElement.dataset.colours = name;
  else delete document.documentElement.dataset.colours;
}

const preferred = (navigator.languages ?? []).some((one, index) => index === 0 && one.toLowerCase().startsWith("zh"));
speak(remembered("language") ?? (preferred ? "zh" : "en"));
byId("language").value = spoken();
byId("colours").value = remembered("colours") ?? "";
setColours(byId("colours").value);

byId("language").addEventListener("change", (event) => {
  speak(event.target.value);
  remember("language", spoken());
  showWords();
});
byId("colours").addEventListener("change", (event) => {
  setColours(event.target.value);
  remember("colours", event.target.value);
});
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value);
  submit();
});
addEventListener("hashchange", () => {
  if (location.hash === "#main") return; // the link that skips the header
  showView();
  byId("main").focus();
});
showWords();
showView();
