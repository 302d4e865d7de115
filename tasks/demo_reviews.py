"""Demo data: short film-review sentences in SST-2's shape, written by a small seeded grammar.

Embedded, so that a sweep runs with no network and no data files. A label is what the grammar meant, without noise.
Sentences negate, contrast, suppose and compare, so that the same words occur on both sides and counting them is
not enough; the vocabulary is wide, so that more rows teach more of it. Says nothing about a model's worth on real
reviews.

A rule's text may name other rules in brackets: `[adj+]` keeps the sentence's polarity, `[adj-]` turns it round,
`[plot]` has none. Rules ending in `/pos` or `/neg` add texts for one polarity only.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DEMO_SIZES = {"train": 13_000, "test": 1_000}  # rows; the selection split is carved out of the first
DEMO_LABELS = ("negative", "positive")
SEED = 0
MIN_WORDS, MAX_WORDS = 3, 30

RULES: dict[str, str] = {
    # What a row is, the commoner kinds repeated.
    "row": """
        [claim+] | [claim+] | [claim+] | [claim+] . | [claim+] . | [claim+] . | [claim+] , and [claim+]
        [claim+] , and [claim+] .
        [phrase+] | [phrase+] | [phrase+] | [phrase+] | [phrase+] | [phrase+] | [phrase+] . | [phrase+] .
        [phrase+] [origin]
        [phrase+] [origin] | [phrase+] [origin] . | [plot] , and [claim+] . | [plot] , but [claim+] .
        [claim+] , [aside] , and [claim+] . | [phrase+] ; [claim+] . | [phrase+] , [aside] | [claim+] , [aside] .
        [contrast+] | [contrast+] . | [negation+] | [negation+] . | [plot] , but [negation+] .
        [negation+] , and [claim+] .
        [supposition+] . | [comparison+] .""",
    "claim": """
        [film] is [very] [adj+] | [film] is [very] [adj+] and [adj+] | [film] [verb+] | [part] is [very] [adj+]
        [part] is [adj+] and [part] [adj+] | [film] is [a] [adj+] [genre] | [film] is [a] [noun+] | [part] [verb+]
        [crew] gives [film] [a] [adj+] [part0] | thanks to [crew] , [film] [verb+]
        [film] [verb+] from start to finish
        what stays with you is [a] [adj+] [part0] | [part] alone makes it [adj+] | i found [part] [very] [adj+]""",
    "phrase": """
        [a] [adj+] [genre] | [a] [adj+] , [adj+] [genre] | [adj+] and [adj+] | [very] [adj+] [part0]
        [a] [noun+] [origin]
        [adj+] , [adj+] and [adj+] | [a] [genre] that [verb+] | [a] [noun+] of [a] [genre]
        [adj+] [genre] about [theme]
        with [a] [adj+] [part0] and [a] [adj+] [part0]""",
    "contrast": """
        [film] starts out [adj-] but ends up [very] [adj+] | [part] is [adj-] , but [film] [verb+]
        although [part] is [adj-] , [film] is [very] [adj+] | [claim+] , even if [part] is [adj-]
        for all its [adj-] [part0] , [film] [verb+] | [film] [verb-] at first , then [verb+]
        despite [a] [adj-] [part0] , [claim+] | [a] [noun+] , however [adj-] [part] may be
        many will find it [adj-] ; to me it is [adj+] | once [a] [adj-] [job] , [crew] has made something [adj+]
        [crew] , so often [adj-] , is [very] [adj+] here | [adj-] in parts , [adj+] as a whole
        the poster looks [adj-] ; [film] itself [verb+]""",
    "negation": """
        [film] is not [adj-] | [part] is never [adj-] | [film] is n't [adj-] at all
        there is nothing [adj-] about [part]
        [film] is anything but [adj-] | far from [adj-] | hardly [a] [noun-] | no one could call [part] [adj-]
        [film] is neither [adj-] nor [adj-] | not [a] [adj-] [genre] by any measure | without [a] [adj-] moment
        i can not say that [part] is [adj-] | [film] rarely [verb-]""",
    "negation/pos": """
        not the [noun-] one feared | [film] never once [verb-] | it is hard not to find it [adj+]
        you would be wrong to expect [a] [noun-]""",
    "negation/neg": """
        not the [noun-] one hoped for | [film] never quite [verb-] | it is hard to find anything [adj-] in it
        you would be wrong to expect [a] [noun-]""",
    "supposition": "if [part] were [adj-] , this would be [a] [noun-] ; it is not",
    "supposition/pos": """
        in lesser hands [film] might have been [a] [noun-] | it could so easily have been [adj-]
        i went in expecting [a] [noun-] and came out smiling
        [film] could have been [adj-] ; [crew] makes sure that it is not""",
    "supposition/neg": """
        in better hands [film] might have been [a] [noun-] | it should have been [adj-]
        i went in expecting [a] [noun-] and came out yawning | [film] could have been [adj-] , had anyone cared
        [film] wants so much to be [adj-] | if only [part] were as [adj-] as [film] thinks""",
    "comparison": """
        more [adj+] than [adj-] | [film] is [adj+] where the first one was [adj-]
        [film] is [adj+] where others are [adj-]
        the book is [adj-] ; [film] is [adj+]""",
    "comparison/pos": "less [adj-] than one feared | nowhere near as [adj-] as [crew] 's last [genre]",
    "comparison/neg": "less [adj-] than one hoped | nowhere near as [adj-] as [crew] 's last [genre]",
    # Words without polarity, and facts of a plot that sound [adj] without judging the film.
    "film": "the film | the movie | this film | it | this [genre] | the picture | the whole thing | this one",
    "part": """
        the script | the plot | the direction | the score | the pacing | the dialogue | the cast | the photography
        the ending | the humor | the lead performance | the editing | the premise | the storytelling
        the soundtrack
        the opening | the romance | the camera work | the supporting cast | the second half | the central idea""",
    "part0": """
        script | plot | score | performance | ending | style | rhythm | premise | tone | look | story | climax
        voice-over
        cast | soundtrack | opening | screenplay | atmosphere | finale""",
    "genre": """
        thriller | comedy | drama | romance | documentary | western | sequel | biography | musical | satire | remake
        adventure | melodrama | fable | mystery | spy film | heist film | ghost story | coming-of-age story
        war film""",
    "crew": """
        the director | the writer | the leading man | the leading lady | the ensemble | the screenwriter
        the young star | the veteran | the cinematographer | the debut director | the composer""",
    "job": "director | actor | writer | star | entertainer",
    "very": """
        [] | [] | [] | very | quite | deeply | utterly | so | really | truly | remarkably | rather | thoroughly
        downright""",
    "aside": """
        in its way | set in [place] | shot in [weeks] weeks | at [minutes] minutes | for the most part
        as it happens
        from first frame to last | like most of its kind""",
    "weeks": "three | four | five | six | nine | ten",
    "minutes": "80 | 84 | 88 | 90 | 95 | 97 | 102 | 110 | 118 | 130 | 145",
    "origin": """
        from [crew] of [title] | set in [place] | about [theme] | by [a] [job] turned director
        in black and white""",
    "title": """
        summer road | the long night | paper houses | the ferryman | north of here | two sisters
        the last train""",
    "place": """
        [place0] | [place0] | a [mood] village | a [mood] town by the sea | the ruins of a [mood] war
        wartime london""",
    "place0": """
        1950s naples | rural ireland | present-day seoul | suburban ohio | the tokyo of the 1980s
        a boarding school
        a submarine | an alpine hotel | the american south | a fishing port | a prison | postwar vienna
        outer space""",
    "mood": """
        lovely | brutal | quiet | dreary | charming | bleak | sleepy | terrible | wonderful | miserable | gentle
        cold""",
    "plot": """
        a [person] returns to [place] | the story follows a [person] through [place]
        a [person] and a [person] meet in [place]
        it is about a [person] who [deed] | we watch a [person] who [deed] | in [place] , a [person] [deed]""",
    "theme": """
        a [person] who [deed] | [place] | a [person] and a [person] | love and money | fathers and sons | grief
        a crime""",
    "person": """
        widow | retired boxer | failed poet | young nurse | bank clerk | lonely teacher | detective | cellist
        runaway
        brilliant thief | foolish king | happy couple | sad clown | cheerful orphan | dull accountant
        cruel landlord""",
    "deed": """
        loses a fortune | falls in love | finds a body | keeps a secret | must choose between two brothers
        forges a letter
        learns to swim | hides from the law | buries a friend | wins a bad bet | inherits a beautiful house
        fails an exam
        takes a stupid risk | tells a clever lie""",
    # Words of judgement, the first of each polarity commonest.
    "adj/pos": """
        good funny great moving charming clever beautiful entertaining smart engaging powerful fresh touching
        enjoyable
        compelling witty delightful fascinating gripping wonderful brilliant tender inventive warm elegant
        thoughtful
        absorbing lively sincere honest graceful exciting memorable original haunting hilarious intelligent vivid
        superb
        stylish subtle sweet endearing affecting refreshing captivating splendid stirring satisfying amusing
        excellent
        riveting imaginative impressive heartfelt poignant rousing sharp luminous assured nimble exquisite magical
        triumphant playful mesmerizing enchanting perceptive buoyant sublime exhilarating dazzling taut rewarding
        humane
        insightful seductive uplifting masterful spirited eloquent disarming radiant resonant delicate breathtaking
        ingenious suspenseful generous sparkling polished joyous lyrical infectious invigorating wry soulful vibrant
        incisive winning sprightly sumptuous ravishing effervescent nuanced bewitching transporting beguiling
        supple""",
    "adj/neg": """
        bad dull boring silly predictable flat stupid tedious weak awful clumsy lifeless bland pointless slow empty
        tired
        contrived shallow stale lame confused ugly terrible dreary annoying forgettable pretentious tasteless messy
        hollow
        unfunny incoherent lazy crude sloppy uninspired painful ridiculous trite mediocre heavy-handed disappointing
        implausible listless sluggish cheap overlong derivative dreadful muddled witless phony stiff cliched routine
        mawkish plodding murky tiresome humorless unconvincing insipid wooden ponderous grating vapid laborious
        shoddy
        manipulative aimless soulless strained artificial insufferable amateurish charmless inept leaden disjointed
        sophomoric preachy numbing bloated cloying smug soggy formulaic jumbled excruciating unwatchable inane
        turgid
        maudlin generic hackneyed vacuous slapdash lumbering meandering banal repellent half-baked stilted
        creaky""",
    "noun/pos": """
        delight | treat | gem | triumph | pleasure | joy | winner | marvel | masterpiece | success | knockout
        charmer
        revelation | wonder | feast | crowd-pleaser | blast | beauty | small miracle | tour de force | keeper""",
    "noun/neg": """
        mess | bore | disaster | failure | chore | disappointment | waste of time | dud | letdown | misfire
        slog | bomb
        fiasco | snooze | turkey | debacle | clunker | train wreck | yawn | botch | endurance test""",
    "verb/pos": """
        works | delights | charms | moves you | soars | sparkles | shines | surprises | pays off | thrills
        hits home
        casts a spell | earns its laughs | draws you in | rings true | takes flight | lingers in the mind | glows
        keeps you guessing | warms the heart | gets everything right | holds you tight | cuts deep
        wins you over""",
    "verb/neg": """
        fails | drags | bores | stumbles | falls flat | disappoints | annoys | sinks | runs out of steam
        rings false
        wears you down | goes nowhere | misses the mark | collapses | outstays its welcome | tests your patience
        fizzles
        insults its audience | puts you to sleep | gets everything wrong | leaves you cold | creaks
        talks down to you""",
}


def generate(seed: int, n: int) -> pd.DataFrame:
    """`n` distinct sentences and their labels, 0 negative and 1 positive; the first rows do not depend on `n`."""
    import pandas as pd

    rng, rules = random.Random(seed), _parsed()
    rows: dict[str, int] = {}
    while len(rows) < n:
        label = rng.randrange(2)
        sentence = _sentence(rules, label, rng)
        if MIN_WORDS <= sentence.count(" ") + 1 <= MAX_WORDS and sentence not in rows:
            rows[sentence] = label
    return pd.DataFrame({"sentence": list(rows), "label": list(rows.values())})


def splits() -> dict[str, pd.DataFrame]:
    """The demo data as every run sees it: no sentence is in both."""
    whole = generate(SEED, sum(DEMO_SIZES.values()))
    num_train = DEMO_SIZES["train"]
    return {"train": whole[:num_train].reset_index(drop=True), "test": whole[num_train:].reset_index(drop=True)}


Rule = tuple[list[list[str]], list[float]]  # texts, cut into words and [names], and their cumulative weights


def _parsed() -> dict[tuple[str, int], Rule]:
    """(rule, polarity) -> its texts. Words of judgement thin out towards the end of their list, as words do."""
    parsed: dict[tuple[str, int], Rule] = {}
    for name in {key.split("/")[0] for key in RULES}:
        for label, ending in enumerate(("/neg", "/pos")):
            shared, own = (RULES.get(key, "") for key in (name, name + ending))
            texts = own.split() if name == "adj" else [t for part in (shared, own) for t in re.split(r" \| |\n", part)]
            texts = [text.strip() for text in texts if text.strip()]
            weights = [1 / (2 + rank) if not shared else 1.0 for rank in range(len(texts))]
            cumulated = [sum(weights[: rank + 1]) for rank in range(len(texts))]
            parsed[name, label] = [re.findall(r"\[.*?\]|[^\s\[\]]+", text) for text in texts], cumulated
    return parsed


def _sentence(rules: dict[tuple[str, int], Rule], label: int, rng: random.Random) -> str:
    words = " ".join(_expand("[row+]", label, rules, rng)).split()
    for index, word in enumerate(words[:-1]):
        if word == "[a]":
            words[index] = "an" if words[index + 1][0] in "aeiou" else "a"
    return " ".join(words)


def _expand(item: str, label: int, rules: dict[tuple[str, int], Rule], rng: random.Random) -> list[str]:
    if not item.startswith("[") or item == "[a]":  # the article waits for the word after it
        return [item]
    name = item.strip("[]")
    polarity = 1 - label if name.endswith("-") else label
    name = name.rstrip("+-")
    if not name:
        return []
    texts, weights = rules[name, polarity]
    (text,) = rng.choices(texts, cum_weights=weights)
    return [word for part in text for word in _expand(part, polarity, rules, rng)]
