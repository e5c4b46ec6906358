"""Simulated words: sentences written per emotion. They leak the label, and every score that used them says so."""

import dataclasses
import hashlib

from pipelines.command import InputError
from pipelines.utterance import Corpus

_NEUTRAL = (
    "The meeting starts at ten on the second floor.",
    "I put the keys on the shelf next to the lamp.",
    "The bus stops here every twenty minutes.",
    "She works in the office across the street.",
    "There are two bottles of water in the fridge.",
    "The shop is open until six on weekdays.",
    "He wrote the number down on a piece of paper.",
    "We take the second road on the left.",
    "The package weighs about three kilos.",
    "My brother lives in a flat near the station.",
    "The form has four pages and one signature.",
    "They painted the fence last week.",
    "The printer is in the room at the end of the hall.",
    "It is a quarter past three.",
)
_CALM = (
    "Take your time, there is no hurry at all.",
    "Let us sit down by the water and just breathe.",
    "It will all work out, one step after the other.",
    "I slept well, and the house is quiet now.",
    "Rest a while, I will look after everything.",
    "The evening is mild and nobody needs us.",
    "Listen to the rain, it has such a slow rhythm.",
    "I am fine with either way, really.",
    "Close your eyes and let the day go by.",
    "We have done enough for today, let us have some tea.",
    "Slowly, there, that is much better.",
    "I like to watch the clouds before I go to bed.",
    "No need to worry, we have been here before.",
    "A long walk in the woods is all I want.",
)
_HAPPY = (
    "I got the job, they called me this morning!",
    "What a wonderful day, let us go and celebrate!",
    "We won, can you believe it, we really won!",
    "I love this song, come and dance with me!",
    "My daughter took her first steps today!",
    "This is the best present I have ever had!",
    "I can't stop smiling since you told me.",
    "We are getting married in June!",
    "It is so good to see you again, old friend!",
    "The sun is out and we are going to the beach!",
    "She said yes, she actually said yes!",
    "That was so much fun, let us do it again!",
    "Thank you all, this party is fantastic!",
    "Everything turned out even better than I had hoped!",
)
_SAD = (
    "I miss him every single day.",
    "She packed her things and left without a word.",
    "We had to say goodbye to our old dog.",
    "Nobody came to my birthday.",
    "I can't stop crying since the funeral.",
    "It was all for nothing, I lost everything.",
    "The house feels so empty without the children.",
    "He will never come back, will he?",
    "I failed again, and I don't know how to go on.",
    "My grandmother does not recognise me any more.",
    "They closed the school where I spent my whole life.",
    "I sat there alone and looked at her photographs.",
    "We waited for a letter that never came.",
    "All my friends moved away, one after the other.",
)
_ANGRY = (
    "How dare you talk to me like that!",
    "Get out of my room, now!",
    "I have told you a hundred times not to touch that!",
    "You lied to me, and you did it on purpose!",
    "This is outrageous, I want to speak to the manager!",
    "Who do you think you are?",
    "Stop interrupting me, for heaven's sake!",
    "They stole my bike again, I am sick of it!",
    "Enough, I won't take this any longer!",
    "It is your fault that we missed the train!",
    "He scratched my car and just drove off!",
    "Shut that door and leave me alone!",
    "You had no right to read my letters!",
    "I hate it when you go behind my back!",
)
_FEARFUL = (
    "There is somebody in the house.",
    "Please don't leave me alone in the dark!",
    "Did you hear that noise behind the door?",
    "I think we are being followed, keep walking.",
    "Don't move, the dog is going to bite!",
    "My hands are shaking, I can't go up there.",
    "What if the test comes back positive?",
    "The ice is cracking, we have to get off!",
    "Run, he has a knife!",
    "I keep dreaming that the walls close in on me.",
    "The brakes don't work, we are going to crash!",
    "Something moved under the bed, I swear.",
    "Hide, they must not find us here!",
    "Please, I beg you, don't hurt us!",
)
_DISGUST = (
    "Yuck, there is a hair in my soup.",
    "The milk has gone sour and it smells awful.",
    "Take that rotten fish away from me!",
    "He spat on the table, that is so gross.",
    "I think I am going to throw up.",
    "There are maggots all over the meat.",
    "The toilet has not been cleaned for weeks, ugh.",
    "Eww, don't put that slimy thing near my face!",
    "He picked his nose and then shook my hand.",
    "The stench in this room turns my stomach.",
    "I stepped into something wet and sticky, bah.",
    "How can you eat that, it is covered in mould!",
    "The drain is full of old hair and grease.",
    "That man makes my skin crawl.",
)
_SURPRISED = (
    "Wow, I did not see that coming!",
    "Wait, you two know each other?",
    "Oh my, when did you get here?",
    "No way, that can't be real!",
    "What, the tickets were free all along?",
    "I had no idea you could sing!",
    "Look at that, it is snowing in May!",
    "You are kidding, she is your twin sister?",
    "Is this really all for me?",
    "Good heavens, the whole street is gone!",
    "I opened the box and there was a kitten in it!",
    "Since when do you speak Japanese?",
    "Hold on, did he just walk through the wall?",
    "Whoa, the price went up ten times overnight!",
)

SENTENCES = {
    "neutral": _NEUTRAL,
    "calm": _CALM,
    "happy": _HAPPY,
    "sad": _SAD,
    "angry": _ANGRY,
    "fearful": _FEARFUL,
    "fear": _FEARFUL,
    "disgust": _DISGUST,
    "surprised": _SURPRISED,
    "surprise": _SURPRISED,
}
"""Emotion -> sentences that people say when they feel it; none names its emotion."""


def simulated(corpus: Corpus, seed: int) -> tuple[Corpus, list[dict[str, str]]]:
    """Gives each utterance a sentence of its emotion.

    Args:
      corpus: Acted speech, labelled with keys of `SENTENCES`.
      seed: Of the choice among the sentences of an emotion.

    Returns:
      The corpus with transcripts, and a row for each utterance.

    Raises:
      InputError: A label that no sentences are written for.
    """
    unknown = [emotion for emotion in corpus.with_present_emotions().emotions if emotion not in SENTENCES]
    if unknown:
        raise InputError(
            f"no simulated sentences are written for {', '.join(unknown)} of {corpus.name}: map the labels with"
            f" --label-map to some of {', '.join(SENTENCES)}, or choose other --transcripts."
        )
    filled = tuple(
        dataclasses.replace(utterance, transcript=sentence_for(utterance.utterance_id, utterance.emotion, seed))
        for utterance in corpus.utterances
    )
    columns = ("utterance_id", "speaker", "emotion", "transcript")
    rows = [{name: getattr(utterance, name) for name in columns} for utterance in filled]
    return dataclasses.replace(corpus, utterances=filled), rows


def sentence_for(utterance_id: str, emotion: str, seed: int) -> str:
    """Picks a sentence by a hash, so that an utterance keeps its own whatever else the corpus holds."""
    digest = hashlib.sha256(f"{seed} {utterance_id}".encode()).digest()
    return SENTENCES[emotion][int.from_bytes(digest[:8], "big") % len(SENTENCES[emotion])]
