// From what the service tells of attention to what is shaded. No element is made here.

/** Words of a text, with what stands between them: offsets count characters, not the units of a JavaScript string. */
export function pieces(text, words) {
  const characters = Array.from(text);
  const found = [];
  let at = 0;
  words.forEach(([start, end], index) => {
    if (start > at) found.push({ text: characters.slice(at, start).join(""), word: null });
    found.push({ text: characters.slice(start, end).join(""), word: index });
    at = end;
  });
  if (at < characters.length) found.push({ text: characters.slice(at).join(""), word: null });
  return found;
}

/** The attention that each word of a passage got: of one answer token, or of all on average where it is null. */
export function wordShares(passage, token) {
  const rows = token === null ? passage.token_relevance : [passage.token_relevance[token]];
  return passage.words.map((_, word) => mean(rows.map((row) => row[word])));
}

/** The share of a whole passage, in the same way. */
export function passageShare(passage, token) {
  return token === null ? mean(passage.token_share) : passage.token_share[token];
}

/** Numbers that may be negative as lengths between 0.04 and 1: the least of a list is the shortest. */
export function lengths(values) {
  const least = Math.min(...values);
  const greatest = Math.max(...values);
  return values.map((value) => (greatest > least ? 0.04 + (0.96 * (value - least)) / (greatest - least) : 1));
}

/** The indices of the greatest shares, at most so many, none of them a tenth of the greatest or less. */
export function strongest(shares, count) {
  const order = shares.map((_, index) => index).sort((a, b) => shares[b] - shares[a]);
  return order.slice(0, count).filter((index) => shares[index] > 0.1 * shares[order[0]]);
}

function mean(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;
}
