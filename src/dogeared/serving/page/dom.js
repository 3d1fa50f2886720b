// Small tools: making elements, and asking the service. Texts go in as texts, never as markup.

import { say } from "./words.js";

/** Make an element with attributes and children; a string child is text. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** What went wrong, in words for the person who asked. */
export class Trouble extends Error {
  constructor(message, { wantsToken = false } = {}) {
    super(message);
    this.wantsToken = wantsToken;
  }
}

let token = "";

/** Send a token with every request from now on; it is forgotten when the page is left. */
export function useToken(value) {
  token = value;
}

/** Ask the service; a body is sent as JSON. */
export async function request(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = body === undefined ? { headers } : {
    method: "POST", body: JSON.stringify(body), headers: { ...headers, "Content-Type": "application/json" },
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Trouble(say("unreachable"));
  }
  if (response.ok) return response.json();
  if (response.status === 401) throw new Trouble(say("wantsToken"), { wantsToken: true });
  if (response.status === 429) throw new Trouble(say("again", { seconds: response.headers.get("Retry-After") ?? "1" }));
  const told = await response.json().catch(() => null);
  if (told?.error?.code === "no_retriever") throw new Trouble(say("noBefore"));
  throw new Trouble(say("failed", { message: told?.error?.message ?? `${response.status}` }));
}

/** A share between 0 and 1 in percent, with one decimal; a dash where there is none. */
export function percent(value) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(1);
}
