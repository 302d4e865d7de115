"""Documents that ask for an opinion: a piece of a review, the word `sentiment:`, words from elsewhere in the review.

    the plot is a mess from start to end .
    sentiment: boring , awful

A plain language model of this size learns late, if at all, that what a sentence says of a film colours the next one.
These documents ask for that and nothing else. No label is read and no word is marked as good or bad: the words
stand in the same review, and which of them go together is for the model to find out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sweeper.mini.corpus import sentences, treebank_style

WORDS_ASKED = 3
LONGEST_PIECE = 40  # words
CUT_SHARE = 0.5  # of the sentences are cut to a piece, since what people classify is often less than a sentence

INSTRUCTIONS = (
    "You are a helpful, respectful and honest sentiment analysis assistant. "
    "Answer with the sentiment of the sentence, positive or negative.",
    "What is the sentiment of this sentence?",
    "Read the sentence and say what its writer felt.",
)

# Judgements as they are written in reviews, in alphabetical order.
_JUDGEMENTS = """
amateurish amazing annoying appalling atrocious awful bad beautiful beautifully best bland boring breathtaking
brilliant captivating charming cheap cheesy clever compelling confusing contrived crap crappy delightful
disappointed disappointing disappointment dreadful dull dumb engaging enjoyable enjoyed entertaining excellent
exciting fails fantastic fascinating flat forgettable fun funny garbage gem gorgeous great gripping hilarious
horrible impressive incoherent intelligent lacks lame laughable lousy loved lovely magnificent marvelous masterpiece
mediocre memorable mess moving outstanding overrated painful pathetic perfect perfectly pointless poor poorly
powerful predictable refreshing ridiculous ruined silly solid stunning stupid sucked sucks superb tedious terrible
terrific thoughtful tiresome touching unconvincing unforgettable unfunny uninspired unwatchable waste wasted weak
witty wonderful wooden worse worst
"""
_NEGATIONS = "not n't no never nothing hardly without less nor neither cannot"
OPINION_WORDS = frozenset(_JUDGEMENTS.split())
NEGATIONS = frozenset(_NEGATIONS.split())


@dataclass(frozen=True)
class Opinion:
    """What is read, and the words to say: both end to end are the document."""

    prompt: str
    words: str


def opinions(review: str, rng: random.Random) -> list[Opinion]:
    """A document for each sentence with opinion words in the three before it or after it, the nearest asked first."""
    lines = [treebank_style(sentence).lower().split() for sentence in sentences(review)]
    found = [opinion_words(line) for line in lines]
    result = []
    for place, line in enumerate(lines):
        near = (place + step for step in (1, -1, 2, -2, 3, -3))  # further away, people often speak of the plot
        nearest = [other for other in near if 0 <= other < len(lines)]
        words = dict.fromkeys(word for other in nearest for word in found[other] if word not in line)
        if words and len(line) > 1:
            prompt = framed(" ".join(piece(line, rng)), rng)
            result.append(Opinion(prompt, " " + " , ".join(list(words)[:WORDS_ASKED])))
    return result


def opinion_words(line: list[str]) -> list[str]:
    """Those of the line's tokens, except where one of the three tokens before denies it."""
    return [
        word
        for place, word in enumerate(line)
        if word in OPINION_WORDS and NEGATIONS.isdisjoint(line[max(0, place - 3) : place])
    ]


def piece(line: list[str], rng: random.Random) -> list[str]:
    """The line, or 2 to 15 words of it; never more than `LONGEST_PIECE`."""
    longest = rng.randint(2, 15) if rng.random() < CUT_SHARE else LONGEST_PIECE
    start = rng.randint(0, max(0, len(line) - longest))
    return line[start : start + longest]


def framed(text: str, rng: random.Random) -> str:
    """Most often bare, else as a prompt would ask."""
    draw = rng.random()
    if draw < 0.5:
        return f"{text} \nsentiment:"
    question = f"Sentence: {text} \nSentiment:"
    return question if draw < 0.85 else f"{rng.choice(INSTRUCTIONS)}\n{question}"
