"""Talk that needs more than one look: follow-up questions, and small talk without any picture."""

from __future__ import annotations

from random import Random

from vlm.train.questions.clip_facts import clip_fact
from vlm.train.questions.picture_facts import FACTS
from vlm.train.questions.wording import Question, word
from vlm.train.scenes.world import Clip, Scene

_STARTS = ("colour", "shape", "size", "pattern", "where", "largest", "leftmost", "box")
_CLIP_STARTS = ("video_direction", "video_which", "video_which", "appears", "disappears", "colour", "shape")
_FOLLOWS = ("colour", "shape", "size", "pattern", "where", "box")

ME = "I am a tiny model that knows simple shapes."
_TALK = {  # for each language: wordings for training, unseen wordings, the answer
    "en": (
        (
            ("Hello!", "Hello", "Hi!", "Hi there!", "Hey!", "Good morning!", "Good evening!", "Hello there!"),
            ("Greetings!", "Good afternoon!", "Howdy!"),
            "Hello! " + ME,
        ),
        (
            (
                "Who are you?",
                "What are you?",
                "What is your name?",
                "Tell me about yourself.",
                "Are you a person?",
                "Are you a human?",
                "Are you an AI?",
                "Introduce yourself.",
            ),
            ("Who am I talking to?", "What kind of thing are you?", "Are you a robot?"),
            ME,
        ),
        (
            (
                "What can you do?",
                "What do you know?",
                "How can you help me?",
                "What can I ask you?",
                "Help!",
                "What are you good at?",
                "What should I ask?",
            ),
            ("What are you able to do?", "What are your skills?", "Which questions can I ask?"),
            "I can tell colours, shapes, sizes and places of simple shapes.",
        ),
        (
            (
                "Thanks!",
                "Thank you!",
                "Thank you very much.",
                "Thanks a lot!",
                "Great, thanks.",
                "Nice, thank you.",
            ),
            ("Many thanks!", "Cheers!", "That was helpful, thanks!"),
            "You are welcome!",
        ),
        (
            ("Goodbye!", "Bye!", "Bye bye!", "See you!", "See you later!"),
            ("Farewell!", "Until next time!"),
            "Goodbye!",
        ),
    ),
    "zh": (
        (
            ("你好!", "你好", "您好!", "早上好!", "嗨!", "大家好!"),
            ("晚上好!", "下午好!"),
            "你好！我是一个只认识简单图形的小模型。",
        ),
        (
            ("你是谁?", "你是什么?", "你叫什么名字?", "介绍一下你自己。", "你是人吗?", "你是机器人吗?"),
            ("请问你是谁?", "说说你自己。"),
            "我是一个只认识简单图形的小模型。",
        ),
        (
            ("谢谢!", "谢谢你!", "多谢!", "非常感谢!", "好的,谢谢。", "太好了,谢谢!"),
            ("感谢你!", "谢谢啦!"),
            "不客气！",
        ),
    ),
}
_STRANGERS = {
    "train": (
        "dog", "cat", "car", "person", "tree", "house", "phone", "bird", "horse", "boat", "chair", "table",
        "flower", "book", "train", "child", "cup", "shoe", "bike", "fish", "man", "woman", "baby", "face",
        "hand", "mountain", "cloud", "road", "bottle", "lamp", "door", "window", "clock", "camera",
        "laptop", "knife", "pizza", "cake", "sheep", "lion", "tiger", "snake", "spider", "rabbit", "mouse",
        "duck", "chicken", "truck", "bus", "ship", "sofa", "bed", "guitar", "ball", "key", "umbrella",
        "bag", "shirt", "coat",
    ),
    "unseen": (
        "plane", "banana", "computer", "cow", "bridge", "river", "hat", "spoon", "elephant", "piano",
        "castle", "bear",
    ),
}  # fmt: skip
_STRANGE = {
    "train": (
        "Is there a {}?",
        "Do you see a {}?",
        "Where is the {}?",
        "How many {}s are there?",
        "Can you see a {}?",
        "What colour is the {}?",
        "Is this a {}?",
        "Do you know what a {} is?",
        "Describe the {}.",
    ),
    "unseen": (
        "Is that a {}?",
        "Have you seen a {}?",
        "Could there be a {}?",
        "How big is the {}?",
    ),
}
_BEYOND = {
    "train": (
        "What is the capital of France?",
        "What is the weather today?",
        "Tell me a joke.",
        "Write a poem.",
        "What is two plus two?",
        "Who is the president?",
        "What time is it?",
        "Translate this to French.",
        "Write some Python code.",
        "How old are you?",
        "Sing a song.",
        "What is the meaning of life?",
    ),
    "unseen": (
        "What day is it?",
        "Tell me a story.",
        "Who wrote Hamlet?",
        "What is ten minus three?",
    ),
}
ONLY = "I only know simple shapes."


def _fact(scene: Scene | Clip, kind: str, rng: Random, index: int | None = None):
    if isinstance(scene, Clip):
        return clip_fact(kind, scene, rng, "en", index)
    return FACTS[kind](scene, rng, "en", index)


def _follow_kinds(scene: Scene | Clip, index: int, known) -> list[str]:
    """What may still be asked about "it": nothing told already, no places in a clip, no size of a text."""
    if not isinstance(scene, Clip):
        text = scene.things[index].text
        kinds = [kind for kind in _FOLLOWS if not (text and kind in ("shape", "size", "pattern"))]
    else:
        moves = scene.motions[index].kind == "moves"
        kinds = ["colour", "shape", "size", "pattern"] + ["video_direction"] * 3 * moves
    return [kind for kind in kinds if kind not in known]


def _about_it(scene: Scene | Clip, rng: Random, turns: int, ask) -> list[Question]:
    """One thing singled out in the first turn, then asked about as "it"."""
    starts = _CLIP_STARTS if isinstance(scene, Clip) else _STARTS
    fact = _fact(scene, rng.choice(starts), rng)
    if fact is None or fact.about is None:
        return []
    questions, known = [ask(fact, False)], set(fact.told) | {fact.kind}
    while len(questions) < turns:
        kinds = _follow_kinds(scene, fact.about, known)
        follow = _fact(scene, rng.choice(kinds), rng, fact.about) if kinds else None
        if follow is None:
            return questions
        known.add(follow.kind)
        questions.append(ask(follow, True))
    return questions


def _one_after_another(scene: Scene | Clip, rng: Random, turns: int, ask) -> list[Question]:
    """ "Is there a star?" - "And a circle?", or the same with how many."""
    kind = rng.choice(("exists", "count_of"))
    picture = scene.scene if isinstance(scene, Clip) else scene
    facts, said = [], set()
    for _ in range(4 * turns):
        fact = FACTS[kind](picture, rng)
        if fact and len(facts) < turns and str(fact.slots) not in said:
            facts.append(fact)
            said.add(str(fact.slots))
    return [ask(fact, bool(i)) for i, fact in enumerate(facts)]


def dialogue(
    scene: Scene | Clip,
    rng: Random,
    turns: tuple[int, int] = (2, 4),
    split: str = "train",
    noise: float = 1.0,
) -> list[Question]:
    """A conversation of (fewest, most) turns about a scene or a clip; later turns need the earlier ones.

    It may come out shorter where the scene holds little to ask, and is empty where it holds nothing.
    """
    number = rng.randint(*turns)
    best: list[Question] = []
    for _ in range(8):
        plan = _one_after_another if rng.random() < 0.3 and not isinstance(scene, Clip) else _about_it
        found = plan(scene, rng, number, lambda fact, follow: word(fact, rng, split, "en", noise, follow))
        best = max(best, found, key=len)
        if len(best) >= turns[0]:
            break
    return best


def smalltalk(rng: Random, split: str = "train", zh: float = 0.0) -> Question:
    """A question without a picture: a greeting, who are you, thanks, or something beyond the world."""
    lang = "zh" if rng.random() < zh else "en"
    if lang == "en" and rng.random() < 0.45:
        strange = rng.choice(_STRANGE[split]).format(rng.choice(_STRANGERS[split]))
        text = strange if rng.random() < 0.7 else rng.choice(_BEYOND[split])
        return Question("beyond", text, ONLY)
    train, unseen, answer = rng.choice(_TALK[lang])
    text = rng.choice(train if split == "train" else unseen)
    if rng.random() < 0.2:
        text = text.lower().rstrip("!?.")
    return Question("smalltalk", text, answer, lang)
