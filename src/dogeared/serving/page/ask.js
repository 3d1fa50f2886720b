// The first view: a question, its answer, the passages, and what the decoder attended to in them.

import { Trouble, make, percent, request } from "./dom.js";
import { lengths, passageShare, pieces, strongest, wordShares } from "./shading.js";
import { say } from "./words.js";

const STRONG_WORDS = 4;

let shown = null; // what the service answered, by side, and which answer token shades it
let asked = 0; // the number of the last question: an older one that comes late is not shown

const byId = (id) => document.getElementById(id);

/** Ask a question and show what comes. */
export async function ask(question, count) {
  await get({ question, num_passages: count }, ["after"]);
}

/** Show again what is shown, in the language that is spoken now. */
export function showAgain() {
  if (shown) show();
}

async function get(body, sides) {
  const number = ++asked;
  byId("error").replaceChildren();
  byId("status").textContent = say("asking");
  byId("status").classList.remove("heard");
  byId("view-ask").setAttribute("aria-busy", "true");
  try {
    const answers = await Promise.all(sides.map((side) => request("/v1/ask", { ...body, retriever: side })));
    if (number !== asked) return;
    shown = { body, token: null, sides: Object.fromEntries(sides.map((side, index) => [side, answers[index]])) };
    byId("token-form").hidden = true;
    show();
    const { found, answer } = shown.sides.after;
    byId("status").textContent = found ? say("answered", { answer }) : say("nothing");
    byId("status").classList.add("heard"); // for screen readers; who sees the page reads it in the answer below
  } catch (error) {
    if (number !== asked) return;
    byId("status").textContent = "";
    if (!(error instanceof Trouble)) throw error;
    byId("error").textContent = error.message;
    byId("token-form").hidden = !error.wantsToken;
  } finally {
    if (number === asked) byId("view-ask").removeAttribute("aria-busy");
  }
}

function show() {
  const { after, before } = shown.sides;
  byId("answer").replaceChildren(
    verdict(after),
    tokens(after),
    make("p", { class: "actions" }, compareButton()),
    make("h2", {}, say("passages")),
    before
      ? make("div", { class: "sides" }, side(before, after, "before"), side(after, before, "after"))
      : make("div", {}, note(after), list(after, null)),
  );
  shade();
}

function verdict(answer) {
  const needed = answer.threshold === null ? "" : say("needed", { threshold: percent(answer.threshold) });
  const candidate = answer.candidate ? say("notSure", { candidate: answer.candidate }) : say("silent");
  return make(
    "div", { class: "verdict" },
    make("p", { class: "said" }, answer.found ? answer.answer : say("nothing")),
    answer.found ? null : make("p", {}, candidate),
    make("p", {}, say("confidence", { confidence: percent(answer.confidence) }) + needed),
  );
}

function tokens(answer) {
  if (!answer.answer_tokens.length) return make("p", { class: "note" }, say("noTokens"));
  const choose = (token) => (event) => {
    shown.token = token;
    for (const button of event.currentTarget.parentElement.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button === event.currentTarget));
    }
    shade();
  };
  const buttons = answer.answer_tokens.map((text, token) =>
    make("button", { type: "button", "aria-pressed": String(shown.token === token), onclick: choose(token) }, text));
  const all = make("button", { type: "button", "aria-pressed": String(shown.token === null), onclick: choose(null) },
    say("allTokens"));
  return make(
    "div", {},
    make("div", { class: "tokens", role: "group", "aria-labelledby": "shade-by" },
      make("span", { class: "lead", id: "shade-by" }, say("shadeBy")), all, ...buttons),
    make("p", { class: "note" }, say("shadeNote")),
  );
}

function compareButton() {
  const comparing = "before" in shown.sides;
  const onclick = async () => {
    if (comparing) {
      delete shown.sides.before;
      show();
    } else {
      await get(shown.body, ["after", "before"]);
    }
    byId("compare")?.focus();
  };
  return make("button", { type: "button", id: "compare", "aria-pressed": String(comparing), onclick },
    say(comparing ? "stopCompare" : "compare"));
}

function side(answer, other, name) {
  const title = say(name, { name: answer.retriever.name });
  return make(
    "section", { class: "side", "aria-label": title },
    make("h3", {}, title),
    make("p", { class: "note" }, say("answered", { answer: answer.candidate || "–" })),
    list(answer, other, say(name === "before" ? "afterWord" : "beforeWord")),
  );
}

function note(answer) {
  return make("p", { class: "note" }, say("by", { name: answer.retriever.name, round: roundName(answer.retriever.round) }));
}

function roundName(round) {
  if (round === "untouched") return say("roundUntouched");
  return round === 0 ? say("roundStart") : say("roundOf", { round });
}

function list(answer, other, otherName) {
  if (!answer.passages.length) return make("p", {}, say("noPassages"));
  const score = lengths(answer.passages.map((one) => one.score));
  const relevance = lengths(answer.passages.map((one) => one.relevance));
  return make("ol", { class: "passages", "data-side": answer.retriever.side }, ...answer.passages.map((one, index) =>
    make(
      "li", {},
      make(
        "div", { class: "head" },
        make("h3", {}, make("span", { class: "rank" }, `${one.rank}.`), one.title || one.id, moved(one, other, otherName)),
        make("dl", { class: "bars" }, ...bar("score", one.score, score[index]), ...bar("relevance", one.relevance, relevance[index])),
      ),
      make("p", { class: "text" }, ...pieces(one.text, one.words).map((piece) =>
        piece.word === null ? piece.text : make("span", { class: "word", "data-word": String(piece.word) }, piece.text))),
      make("p", { class: "seen" }),
    )));
}

function moved(passage, other, otherName) {
  if (!other) return null;
  const there = other.passages.find((one) => one.id === passage.id);
  if (!there) return make("span", { class: "moved lost" }, say("only", { other: otherName }));
  const key = there.rank === passage.rank ? "same" : "up";
  return make("span", { class: "moved" }, say(key, { other: otherName, rank: there.rank }));
}

function bar(kind, value, length) {
  const filled = make("span", { class: `fill ${kind}` });
  filled.style.width = `${(100 * length).toFixed(1)}%`;
  return [
    make("dt", {}, say(kind)),
    make("dd", {}, make("span", { class: "track", "aria-hidden": "true" }, filled),
      make("span", { class: "number" }, value.toFixed(Math.abs(value) < 100 ? 2 : 0))),
  ];
}

/** Shade all words anew for the chosen answer token; tokens of another side's answer are other tokens. */
function shade() {
  for (const [name, answer] of Object.entries(shown.sides)) {
    if (!answer.answer_tokens.length) continue;
    const token = name === "after" ? shown.token : null;
    const shares = answer.passages.map((one) => wordShares(one, token));
    const greatest = Math.max(1e-9, ...shares.flat());
    const items = document.querySelectorAll(`.passages[data-side="${name}"] > li`);
    answer.passages.forEach((passage, index) => {
      const words = items[index].querySelectorAll(".word");
      const strong = strongest(shares[index], STRONG_WORDS).filter((word) => shares[index][word] > 0.1 * greatest);
      words.forEach((word, at) => {
        word.style.setProperty("--share", (shares[index][at] / greatest).toFixed(3));
        word.classList.toggle("strong", strong.includes(at));
        word.title = `${percent(shares[index][at])} %`;
      });
      const named = strong.map((word) => `${words[word].textContent} (${percent(shares[index][word])} %)`).join(", ");
      items[index].querySelector(".seen").textContent =
        say(named ? "seen" : "seenNothing", { words: named, share: percent(passageShare(passage, token)) });
    });
  }
}
