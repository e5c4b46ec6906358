"""The words of the synthetic corpus: sentences that show their theme and nothing else of the emotion."""

import numpy as np

# A theme is a row of templates, a template a row of slots, a slot a row of choices.
_PEOPLE = ("my sister", "my brother", "our neighbour", "the teacher", "an old friend", "my aunt", "the new cook")
_PLACES = ("in the garden", "at the station", "in the kitchen", "at the office", "near the harbour", "on the stairs")
_TIMES = ("today", "this morning", "last night", "after lunch", "on Sunday", "before the lesson", "in the evening")

_PLEASANT_DEEDS = (
    "brought me fresh flowers",
    "sang a lovely song",
    "shared some sweet apples",
    "thanked us with a smile",
    "told the children a funny story",
    "gave me a warm hug",
)
_PLEASANT_TIMES = ("danced", "laughed", "played with the puppies", "enjoyed the sunshine", "celebrated")
_PLEASANT_THINGS = ("kind words", "beautiful music", "good company", "gift", "delicious soup")

_LOSSES = (
    "broke my favourite cup",
    "threw away the old letters",
    "spoiled the clean carpet",
    "left without saying goodbye",
    "lost the only photo of my grandfather",
    "forgot about the sick dog",
)
_LOST = ("missed the funeral", "wasted all the food", "lost the house", "argued about the debt", "buried the bird")
_LOST_THINGS = ("stolen ring", "dirty dishes", "cruel remark", "broken promise", "ruined coat")

_EVENTS = (
    "heard a knock at the door",
    "saw a light behind the window",
    "opened a sealed envelope",
    "noticed footsteps outside",
    "found a key under the mat",
    "answered the phone and nobody spoke",
)
_EVENT_SIGHTS = ("saw a stranger", "waited for the lift", "watched the clouds", "followed the signs", "met a crowd")
_EVENT_THINGS = ("parcel", "sudden announcement", "unknown visitor", "noise from upstairs", "message on the screen")

_THEMES = {
    "pleasant": (
        (_PEOPLE, _PLEASANT_DEEDS, _PLACES, _TIMES),
        (("we", "they", "you and I"), _PLEASANT_TIMES, ("with",), _PEOPLE, _TIMES),
        (("I remember", "we talked about", "nobody expected"), ("the",), _PLEASANT_THINGS, ("from",), _PEOPLE, _PLACES),
    ),
    "loss": (
        (_PEOPLE, _LOSSES, _PLACES, _TIMES),
        (("we", "they", "you and I"), _LOST, ("with",), _PEOPLE, _TIMES),
        (("I remember", "we talked about", "nobody expected"), ("the",), _LOST_THINGS, ("from",), _PEOPLE, _PLACES),
    ),
    "event": (
        (_PEOPLE, _EVENTS, _PLACES, _TIMES),
        (("we", "they", "you and I"), _EVENT_SIGHTS, ("with",), _PEOPLE, _TIMES),
        (("I remember", "we talked about", "nobody expected"), ("the",), _EVENT_THINGS, ("from",), _PEOPLE, _PLACES),
    ),
}


def draw_sentence(theme: str, rng: np.random.Generator) -> str:
    """Draws a sentence of a theme: "pleasant", "loss" or "event"."""
    templates = _THEMES[theme]
    template = templates[rng.integers(len(templates))]
    words = " ".join(slot[rng.integers(len(slot))] for slot in template)
    return words[0].upper() + words[1:] + "."
