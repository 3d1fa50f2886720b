// The second view: what came of the run, in curves and in numbers.

import { Trouble, draw, make, percent, request } from "./dom.js";
import { say } from "./words.js";

const WIDTH = 320;
const HEIGHT = 170;
const LEFT = 34;
const BOTTOM = 26;
const SPLITS = ["test", "dev"];
// Of the retriever's, the line is the student's way; the first retrieval is another retriever, and a dot beside it.
const CURVES = [
  ["Success@1", (one, split) => one.retriever[split]?.["success@1"], true],
  ["Success@5", (one, split) => one.retriever[split]?.["success@5"], true],
  ["Success@20", (one, split) => one.retriever[split]?.["success@20"], true],
  ["em", (one, split) => one.reader[split]?.em, false],
  ["overlap", (one, split) => (split === "dev" ? one.agreement?.["overlap@5"] : undefined), false],
];
const COLUMNS = ["success@1", "success@5", "success@20", "success@100", "mrr@10", "ndcg@10"];

let results = null;

/** Load the measures, once, and show them. */
export async function showRun() {
  const place = document.getElementById("rounds");
  if (!results) {
    place.replaceChildren(make("p", {}, say("loading")));
    try {
      results = await request("/v1/rounds");
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      place.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
      return;
    }
  }
  place.replaceChildren(verdict(), key(), charts(), table(), teacher());
}

function name(round) {
  if (round === "untouched") return say("untouched");
  return round === 0 ? say("first") : say("roundNumber", { round });
}

function verdict() {
  return make(
    "div", { class: "verdict" },
    make("p", { class: "said" }, say("bestIs", { best: name(results.best) })),
    make("p", {}, say(results.improved ? "improvedYes" : "improvedNo")),
    make("p", {}, say("selectedBy", { measure: translated(results.selected_by) }),
      results.stopped ? ` ${say("stopped", { reason: translated(results.stopped) })}` : ""),
  );
}

// What results.json says in English, with the words of the page for it; what is not among these is shown as it stands.
const SENTENCES = [
  [/^dev (\S+), then dev em$/, (measure) => say("byMeasure", { measure })],
  [/^all rounds asked for are done$/, () => say("allDone")],
  [/^dev has not improved for (\d+) rounds? \(best is round (\d+)\)$/, (rounds, best) => say("notImproved", { rounds, best })],
  [/^retriever and reader agree on (\S+) of their first five/, (share) => say("agreeEnough", { share })],
];

function translated(sentence) {
  for (const [pattern, told] of SENTENCES) {
    const found = sentence.match(pattern);
    if (found) return told(...found.slice(1));
  }
  return sentence;
}

function key() {
  const sample = (split) => draw("svg", { viewBox: "0 0 32 10", "aria-hidden": "true" },
    draw("line", { class: `line ${split}`, x1: 0, y1: 5, x2: 32, y2: 5 }));
  return make("ul", { class: "key" }, ...SPLITS.map((split) => make("li", {}, sample(split), say(split))),
    make("li", {}, `– ${say("untouched")}`), make("li", {}, `0 ${say("roundStart")}`));
}

function charts() {
  const drawn = CURVES.map(([title, value, ofStudent]) =>
    chart(title in { em: 1, overlap: 1 } ? say(title) : title, value, ofStudent));
  return make("div", { class: "charts" }, ...drawn.filter((one) => one !== null));
}

function chart(title, value, ofStudent) {
  const rounds = results.rounds;
  const series = SPLITS.map((split) => ({
    split,
    points: rounds.map((one, index) => [index, value(one, split)]).filter(([, y]) => y !== null && y !== undefined),
  })).filter((one) => one.points.length);
  if (!series.length) return null;
  const x = (index) => LEFT + ((WIDTH - LEFT - 12) * (index + 0.5)) / rounds.length;
  const line = (points) => points.filter(([index]) => !ofStudent || rounds[index].round !== 0);
  const y = (share) => 10 + (HEIGHT - BOTTOM - 10) * (1 - share);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const values = series.map(({ split, points }) => `${say(split)}: ` +
    points.map(([index, share]) => `${name(rounds[index].round)} ${percent(share)} %`).join(", ")).join("; ");
  return make(
    "figure", {},
    make("figcaption", {}, title),
    draw(
      "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": say("chart", { title, values }) },
      ...ticks.flatMap((share) => [
        draw("line", { class: "grid", x1: LEFT, x2: WIDTH - 6, y1: y(share), y2: y(share) }),
        draw("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, String(100 * share)),
      ]),
      ...rounds.map((one, index) => draw("text", { x: x(index), y: HEIGHT - 8, "text-anchor": "middle" },
        one.round === "untouched" ? "–" : String(one.round))),
      ...series.flatMap(({ split, points }) => [
        draw("polyline", { class: `line ${split}`, points: line(points).map(([index, share]) => `${x(index)},${y(share)}`).join(" ") }),
        ...points.map(([index, share]) => draw("circle", { class: `dot ${split}`, cx: x(index), cy: y(share), r: 3.5 },
          draw("title", {}, `${name(rounds[index].round)}, ${say(split)}: ${percent(share)} %`))),
      ]),
    ),
  );
}

function table() {
  const split = results.rounds.some((one) => one.retriever.test) ? "test" : "dev";
  const row = (one) => make(
    "tr", { class: one.round === results.best ? "best" : null },
    make("th", { scope: "row" }, name(one.round), one.round === results.best ? ` ◂ ${say("best")}` : ""),
    make("td", { class: "words" }, one.retriever.name ?? "–"),
    ...COLUMNS.map((column) => make("td", {}, percent(one.retriever[split]?.[column]))),
    make("td", {}, percent(one.reader[split]?.em)), make("td", {}, percent(one.reader[split]?.f1)),
  );
  // What a re-ranker made of the list above it: read, but no candidate for the result.
  const reread = (one) => make(
    "tr", { class: "beside" },
    make("th", { scope: "row" }, say("reranked", { round: name(one.round) })), make("td", { class: "words" }, "–"),
    ...COLUMNS.map((column) => make("td", {}, percent(one.reranked[split]?.[column]))),
    make("td", {}, "–"), make("td", {}, "–"),
  );
  const heads = [say("round"), say("retriever"), ...COLUMNS.map((one) => one.replace("success", "S").replace("mrr", "MRR")
    .replace("ndcg", "nDCG")), "EM", "F1"];
  const rows = results.rounds.flatMap((one) => one.reranked ? [row(one), reread(one)] : [row(one)]);
  const told = results.rounds.some((one) => one.reranked) ? say("rerankedNote") : null;
  return section("measures", say("measures", { split: say(split) }), told, heads, rows);
}

function teacher() {
  const checked = results.rounds.filter((one) => one.teacher_check);
  const row = ({ round, teacher_check: check }) => {
    const warnings = check.warnings ?? [];
    const verdictWords = warnings.length ? say("warned", { warnings: warnings.join("; ") })
      : say(check.num_compared ? "worth" : "notMeasured");
    return make("tr", {}, make("th", { scope: "row" }, name(round)),
      ...["first_retrieval", "first_teacher", "entropy"].map((one) => make("td", {}, percent(check[one]))),
      make("td", { class: "words" }, verdictWords));
  };
  const heads = [say("round"), say("firstRetrieval"), say("firstTeacher"), say("entropy"), say("said")];
  return section("teacher", say("teacher"), say("teacherNote"), heads, checked.map(row));
}

function section(id, title, told, heads, rows) {
  const wordy = [say("retriever"), say("said")];
  return make(
    "div", {},
    make("h2", { id: `${id}-title` }, title),
    told ? make("p", { class: "note" }, told) : null,
    make("div", { class: "scroll", role: "region", "aria-labelledby": `${id}-title`, tabindex: "0" },
      make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col", class: wordy.includes(head) ? "words" : null }, head)))),
        make("tbody", {}, ...rows))),
  );
}
