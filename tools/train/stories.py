"""Generate short, simple English stories from a small grammar.

A story is an opening (who) and one plot (what happened). A plot is a list of slots, a slot is a list of alternative
sentences, and a sentence has named gaps that one cast of characters and things fills for the whole story.
All text is ASCII. The generator is integer arithmetic only, so a seed means the same stories on every machine.

    python tools/train/stories.py --count 3 --seed 1
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TypeVar

Option = TypeVar("Option")

MASK = 0xFFFFFFFFFFFFFFFF

GIRLS = ("Mia", "Lily", "Anna", "Zoe", "Rosa", "Nora", "Emma", "Lucy", "Ella", "Ruby")
BOYS = ("Tom", "Ben", "Max", "Sam", "Leo", "Tim", "Jack", "Finn", "Oscar", "Hugo")
ANIMALS = ("fox", "cat", "dog", "bear", "rabbit", "mouse", "frog", "duck", "pig", "goat", "bird", "hedgehog")
SIZES = ("little", "small", "brave", "happy", "kind", "shy", "young", "clever")
HOMES = (
    "in a green forest",
    "near a blue lake",
    "in a small house",
    "under a big tree",
    "on a sunny hill",
    "by the river",
    "in a quiet garden",
    "on a farm",
)
HOBBIES = (
    "play in the rain",
    "run in the grass",
    "sing songs",
    "look at the stars",
    "jump over stones",
    "swim in the lake",
    "draw pictures",
    "pick flowers",
)
COLORS = ("red", "blue", "green", "yellow", "white", "pink")
TOYS = ("ball", "hat", "kite", "drum", "boat", "bell", "book", "scarf")
SPOTS = (
    "under the bed",
    "behind the door",
    "in the garden",
    "near the well",
    "in the tall grass",
    "under a bush",
    "by the pond",
    "behind a rock",
)
FOODS = ("apple", "cake", "pear", "carrot", "cookie", "pie", "bun", "plum")
GIFTS = ("crown of flowers", "paper star", "little cake", "warm scarf", "wooden boat", "string of shells")

OPENINGS = (
    "Once upon a time there was a {size} {animal} named {hero}.",
    "The {size} {animal} {hero} lived {home}.",
    "{hero} was a {size} {animal} who lived {home}.",
    "Once upon a time there was a {size} {animal} named {hero}. {He} lived {home}.",
    "Once upon a time, a {size} {animal} lived {home}. {His} name was {hero}.",
    "The {size} {animal} {hero} loved to {hobby}.",
    "{hero} was a {size} {animal}. {He} loved to {hobby}.",
    "{hero} the {animal} lived {home}. {He} had a friend, {friend} the {friend_animal}.",
    "There was once a {size} {animal} named {hero}.",
    "{hero} was a {size} {animal}.",
)

DAY_CLOSINGS = (
    "They were the best of friends.",
    "The end.",
    "",
    "They played until the sun went down.",
    "It was a good day.",
    "Then they went home.",
)
QUIET_CLOSINGS = ("They were the best of friends.", "It was a good day.", "The end.", "")
NIGHT_CLOSINGS = ("In the morning the sun was bright.", "It was a good night.", "The end.", "")

LOST = (
    ("One day {hero} lost {his} {color} {toy}.", "One morning {hero} could not find {his} {color} {toy}."),
    (
        "{He} looked {spot}, but it was not there.",
        "{He} looked {spot} and {other_spot}.",
        "{He} looked and looked.",
    ),
    ("", "{He} was very sad.", "{He} began to cry."),
    (
        '"Can you help me?" {he} asked {friend} the {friend_animal}.',
        "Then {friend} the {friend_animal} came to help.",
        '"Do not cry," said {friend} the {friend_animal}.',
    ),
    ("{friend} found the {toy} {last_spot}.", "Together they found the {toy} {last_spot}."),
    ("{hero} was happy again.", '"Thank you, {friend}!" said {hero}.', "{hero} hugged {friend} and smiled."),
    DAY_CLOSINGS,
)
SHARE = (
    ("One day {hero} found a big {food} {spot}.", "One day {his} mother gave {hero} a sweet {food}."),
    ("", "It smelled very good.", "{He} wanted to eat it all."),
    (
        "But {friend} the {friend_animal} was hungry.",
        '"I am hungry," said {friend} the {friend_animal}.',
    ),
    (
        '"You can have half of my {food}," said {hero}.',
        "{hero} gave half of the {food} to {friend}.",
        '"Let us share," said {hero}.',
    ),
    ("", "They ate the {food} together.", "They sat {last_spot} and ate."),
    ("The {food} was very good.", "{friend} said thank you.", '"You are very kind," said {friend}.'),
    DAY_CLOSINGS,
)
DARK = (
    ("{hero} was afraid of the dark.", "One night {hero} could not sleep."),
    ("The wind was loud.", "The room was very dark.", "{He} heard a strange sound."),
    (
        '"What was that?" {he} asked.',
        "{He} hid under the bed.",
        "{He} called {his} mother.",
    ),
    (
        "It was only {friend} the {friend_animal}.",
        "Then {friend} the {friend_animal} came with a small lamp.",
    ),
    (
        '"Do not be afraid," said {friend}.',
        "{friend} sang a soft song.",
        "They looked at the moon and the stars.",
    ),
    ("Soon {hero} was asleep.", "{hero} was not afraid any more.", "Then {hero} slept well."),
    NIGHT_CLOSINGS,
)
RACE = (
    ("One day {friend} the {friend_animal} wanted to race.", '"Let us race!" said {friend} the {friend_animal}.'),
    ("They ran to the river.", "They ran up the hill.", "They ran to the old tree."),
    (
        "{friend} was very fast, but {hero} did not give up.",
        "{hero} ran as fast as {he} could.",
        "{hero} fell down, and {friend} came back to help.",
    ),
    ("{hero} won the race.", "{friend} won the race.", "In the end they both won."),
    ('"That was fun!" said {hero}.', '"You run so fast!" said {friend}.', "They laughed and laughed."),
    DAY_CLOSINGS,
)
GIFT = (
    ("It was the birthday of {friend} the {friend_animal}.", "{friend} the {friend_animal} was sick in bed."),
    ("", "{hero} wanted to give {friend} something nice.", "{hero} made a plan."),
    ("{He} made a {gift}.", "{He} worked all day and made a {gift}."),
    ("{He} took it to the house of {friend}.", '"This is for you," said {hero}.', '"I made it for you," {he} said.'),
    (
        "{friend} was so happy.",
        '"It is so pretty!" said {friend}.',
        '"Thank you, {hero}!" said {friend}.',
    ),
    QUIET_CLOSINGS,
)
TREE = (
    ("One day {hero} played with {his} {color} {toy}.", "One day {hero} got a new {color} {toy}."),
    ("The wind took it up into a tree.", "But it fell into the river.", "But it fell into a deep hole."),
    ("{He} could not get it.", '"Oh no!" said {hero}.', '"What can I do?" said {hero}.'),
    (
        "{friend} the {friend_animal} saw it and came to help.",
        '"I can help you," said {friend} the {friend_animal}.',
    ),
    ("{friend} got the {toy} with a long stick.", "They worked together and got the {toy} back."),
    ("{hero} was very glad.", '"Thank you, {friend}!" said {hero}.', "Then they played together."),
    DAY_CLOSINGS,
)
PLOTS = (SHARE, TREE, LOST, GIFT, RACE, DARK)


class SplitMix64:
    """Draw integers from the SplitMix64 generator (Steele, Lea, Flood 2014)."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def below(self, bound: int) -> int:
        """Return an integer in 0..bound-1 (bound far below 2^64, so the modulo bias does not matter)."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return (mixed ^ (mixed >> 31)) % bound

    def choose(self, options: Sequence[Option], *taken: Option) -> Option:
        """Return one of the options that is not taken, the k-th with a probability proportional to 1 / k.

        With equal probabilities a model would learn equal logits, and its greedy text would hang on rounding.
        """
        free = [option for option in options if option not in taken]
        weights = [0x10000 // rank for rank in range(1, len(free) + 1)]
        ticket = self.below(sum(weights))
        for option, weight in zip(free, weights, strict=True):
            if ticket < weight:
                return option
            ticket -= weight
        raise AssertionError("the ticket is below the sum of the weights")


def make_cast(generator: SplitMix64) -> dict[str, str]:
    """Choose what fills the gaps of one story; hero and friend differ in name and animal."""
    is_girl = generator.below(2) == 0
    hero = generator.choose(GIRLS if is_girl else BOYS)
    animal = generator.choose(ANIMALS)
    spot = generator.choose(SPOTS)
    other_spot = generator.choose(SPOTS, spot)
    return {
        "hero": hero,
        "animal": animal,
        "he": "she" if is_girl else "he",
        "He": "She" if is_girl else "He",
        "his": "her" if is_girl else "his",
        "His": "Her" if is_girl else "His",
        "friend": generator.choose(BOYS + GIRLS, hero),
        "friend_animal": generator.choose(ANIMALS, animal),
        "size": generator.choose(SIZES),
        "home": generator.choose(HOMES),
        "hobby": generator.choose(HOBBIES),
        "color": generator.choose(COLORS),
        "toy": generator.choose(TOYS),
        "food": generator.choose(FOODS),
        "gift": generator.choose(GIFTS),
        "spot": spot,
        "other_spot": other_spot,
        "last_spot": generator.choose(SPOTS, spot, other_spot),
    }


def make_story(generator: SplitMix64) -> str:
    """Return one story: sentences with one space between them, no line break."""
    cast = make_cast(generator)
    plot = generator.choose(PLOTS)
    templates = [generator.choose(OPENINGS), *(generator.choose(slot) for slot in plot)]
    text = " ".join(template.format(**cast) for template in templates if template)
    introduced = f"{cast['friend']} the {cast['friend_animal']}"
    before, first, after = text.partition(introduced)
    return before + first + after.replace(introduced, cast["friend"])


def generate_stories(count: int, seed: int) -> Iterator[str]:
    """Yield `count` stories; the same seed gives the same stories."""
    generator = SplitMix64(seed)
    for _ in range(count):
        yield make_story(generator)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print stories, one a line.")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for story in generate_stories(arguments.count, arguments.seed):
        print(story)


if __name__ == "__main__":
    main()
