"""Which language is a text in?

A stage is a component that exports `scoring`, see wit/stage.wit: it gets records, lists of named values, and gives one
record or one error for each. It has no files, no network, no environment and no real clock, and every call gets a fresh
start of it. This one counts how many words of the text are among the commonest of each language. Replace `judge` by
your own work, and say in guild.toml and in `describe` what comes in and goes out.

The module is imported once, when it is built: what it makes here, such as `LANGUAGES`, is ready in every call.
"""

import re

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import types

# What guild.toml lists as labels, with the commonest words. A fifth one, `und`, is ISO 639 for undetermined.
LANGUAGES = {
    "de": set("der die das und ist nicht ein eine ich sie es mit von zu den auf".split()),
    "en": set("the of and to in is it that was for with not this are you on".split()),
    "es": set("el la los las de que y en un una es no con por para se".split()),
    "fr": set("le la les des de et est que un une ne pas dans pour qui il".split()),
}

# Letters are A to Z and everything beyond ASCII.
WORD = re.compile(r"[A-Za-z\u0080-\U0010ffff]+")

MIB = 1 << 20


def judge(text: str, least: int) -> types.Prediction:
    """One prediction. Below `least` known words it does not dare to answer."""
    hits = dict.fromkeys(LANGUAGES, 0)
    for word in WORD.findall(text):
        word = word.lower()
        for code, words in LANGUAGES.items():
            hits[code] += word in words
    everything = sum(hits.values())
    if everything == 0 or everything < least:
        return types.Prediction(0, types.PredictionValue_Class("und"), None, None)
    best = max(hits, key=hits.get)
    # Thousandths in whole numbers: the same figure on every machine.
    share = (2000 * hits[best] + everything) // (2 * everything) / 1000
    return types.Prediction(0, types.PredictionValue_Class(best), None, share)


def whole(text: types.Text) -> str:
    """A text up to 1 MiB comes at once, a longer one is read in pieces."""
    if isinstance(text, types.Text_Inline):
        return text.value
    with text.value as blob:
        pieces = [blob.read(at, MIB) for at in range(0, blob.len(), MIB)]
    return b"".join(pieces).decode()


def setting(config: list[tuple[str, str]]) -> int:
    """The setting `least`, known words before it dares to answer."""
    least = 1
    for key, value in config:
        if key != "least" or not value.isdecimal():
            raise ValueError(f"not a setting: {key}={value}; there is least=NUMBER")
        least = int(value)
    return least


class Scoring(exports.Scoring):
    def describe(self) -> types.Description:
        labels = "|".join([*LANGUAGES, "und"])
        return types.Description(
            inputs=[types.Port("text", "text")],
            outputs=[types.Port("language", f"prediction(class, labels {labels})")],
        )

    def run(self, config, batch):
        try:
            least = setting(config)
        except ValueError as error:
            return [Err(types.StageError_Failed(str(error))) for _ in batch]
        return [Ok(self.record(record, least)) for record in batch]

    def record(self, record: list[types.NamedValue], least: int) -> list[types.NamedValue]:
        # guild.toml has one input port, and the node has checked its type.
        [given] = record
        found = types.Value_Prediction([judge(whole(given.value.value), least)])
        return [types.NamedValue("language", found, None)]
