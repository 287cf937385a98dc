// Which language is a text in?
//
// A stage is a component that exports `scoring`, see wit/stage.wit: it gets records, lists of named values, and gives
// one record or one error for each. It has no files, no network, no environment and no real clock, and every call gets
// a fresh start of it. This one counts how many words of the text are among the commonest of each language. Replace
// `judge` by your own work, and say in guild.toml and in `describe` what comes in and goes out.
//
// The module is loaded once, when it is built: what it makes here, such as `languages`, is ready in every call.

// What guild.toml lists as labels, with the commonest words. A fifth one, `und`, is ISO 639 for undetermined.
const languages = [
  ["de", "der die das und ist nicht ein eine ich sie es mit von zu den auf"],
  ["en", "the of and to in is it that was for with not this are you on"],
  ["es", "el la los las de que y en un una es no con por para se"],
  ["fr", "le la les des de et est que un une ne pas dans pour qui il"],
].map(([code, words]) => ({ code, words: new Set(words.split(" ")) }));

// Letters are A to Z and everything beyond ASCII.
const WORD = /[A-Za-z\u0080-\u{10ffff}]+/gu;

const MIB = 1 << 20;

// One prediction. Below `least` known words it does not dare to answer.
function judge(text, least) {
  const hits = languages.map(() => 0);
  for (const [word] of text.matchAll(WORD)) {
    const small = word.toLowerCase();
    languages.forEach(({ words }, at) => (hits[at] += words.has(small)));
  }
  const all = hits.reduce((sum, count) => sum + count);
  if (all === 0 || all < least) {
    return { input: 0n, value: { tag: "class", val: "und" } };
  }
  const most = Math.max(...hits);
  const { code } = languages[hits.indexOf(most)];
  // Thousandths in whole numbers: the same figure on every machine.
  const confidence = Math.floor((2000 * most + all) / (2 * all)) / 1000;
  return { input: 0n, value: { tag: "class", val: code }, confidence };
}

// A text up to 1 MiB comes at once, a longer one is read in pieces.
function whole(text) {
  if (text.tag === "inline") {
    return text.val;
  }
  const decoder = new TextDecoder();
  const length = text.val.len();
  let read = "";
  for (let at = 0n; at < length; at += BigInt(MIB)) {
    read += decoder.decode(text.val.read(at, MIB), { stream: true });
  }
  return read + decoder.decode();
}

// The setting `least`, known words before it dares to answer.
function setting(config) {
  let least = 1;
  for (const [key, value] of config) {
    if (key !== "least" || !/^[0-9]+$/.test(value)) {
      throw new Error(`not a setting: ${key}=${value}; there is least=NUMBER`);
    }
    least = Number(value);
  }
  return least;
}

export const scoring = {
  describe() {
    const labels = [...languages.map(({ code }) => code), "und"].join("|");
    return {
      inputs: [{ name: "text", portType: "text" }],
      outputs: [{ name: "language", portType: `prediction(class, labels ${labels})` }],
    };
  },

  run(config, batch) {
    let least;
    try {
      least = setting(config);
    } catch (error) {
      return batch.map(() => ({ tag: "err", val: { tag: "failed", val: error.message } }));
    }
    // guild.toml has one input port, and the node has checked its type.
    return batch.map(([given]) => {
      const found = judge(whole(given.value.val), least);
      return {
        tag: "ok",
        val: [{ port: "language", value: { tag: "prediction", val: [found] } }],
      };
    });
  },
};
