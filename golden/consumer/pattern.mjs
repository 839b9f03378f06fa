// @ts-check
// Which ids a filter means (FORMAT.md, section 7, step 1).

const ESCAPED = /[\\^$.*+?()[\]{}|/]/g;
// A set in brackets: `]` stands for itself where it comes first. Brackets that are not closed are no set.
const PARTS = /\[(!?)(?:(?<=!)|(?!!))(\][^\]]*|[^\]]+)\]|[*?]|[^]/g;

/** Say whether a filter means a case: an id, a family, a rule that it cites, or a shell pattern of the whole id. */
export function fits(id, rules, filter) {
  return filter === id || id.startsWith(`${filter}/`) || rules.includes(filter) || shellPattern(filter).test(id);
}

/** Return a regular expression for a shell pattern: `*`, `?`, `[abc]`, `[a-c]`, `[!abc]`. */
function shellPattern(pattern) {
  const source = pattern.replace(PARTS, (part, not, characters) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    return characters ? setOf(characters, not === "!") : part.replace(ESCAPED, "\\$&");
  });
  return new RegExp(`^${source}$`, "su");
}

/** Return the set of single characters and of ranges `a-c`; a range that runs backwards is empty. */
function setOf(text, isNegated) {
  const characters = Array.from(text);
  let ranges = "";
  for (let place = 0; place < characters.length; place += 1) {
    const isRange = characters[place + 1] === "-" && place + 2 < characters.length;
    const [low, high] = [characters[place], characters[isRange ? place + 2 : place]].map((item) => item.codePointAt(0));
    if (low <= high) ranges += `\\u{${low.toString(16)}}-\\u{${high.toString(16)}}`;
    if (isRange) place += 2;
  }
  if (!ranges) return isNegated ? "." : "(?!)";
  return `[${isNegated ? "^" : ""}${ranges}]`;
}
