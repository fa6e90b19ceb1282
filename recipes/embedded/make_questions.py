"""Writes questions.jsonl: everyday chat questions with checkable targets, made for this recipe (Apache-2.0, as Turnout).

Facts, sentences and templates were written by hand for Turnout; numbers are drawn with a fixed seed. Run it from this
folder: `python make_questions.py`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

Row = dict[str, object]
draw = random.Random(20260711)


def row(task: str, prompt: str, target: object, grader: str = "contains") -> Row:
    return {"task": task, "prompt": prompt, "target": target, "grader": grader}


CAPITALS = {
    "France": "Paris", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi", "Norway": "Oslo", "Egypt": "Cairo",
    "Canada": "Ottawa", "Australia": "Canberra", "Portugal": "Lisbon", "Mongolia": "Ulaanbaatar", "Hungary": "Budapest",
    "Chile": "Santiago", "Vietnam": "Hanoi", "Morocco": "Rabat", "New Zealand": "Wellington", "Finland": "Helsinki",
}  # fmt: skip
ELEMENTS = {"gold": "Au", "iron": "Fe", "sodium": "Na", "potassium": "K", "helium": "He", "silver": "Ag", "lead": "Pb"}
KNOWLEDGE = [
    ("Who wrote the play Romeo and Juliet?", "Shakespeare"),
    ("Who painted the Mona Lisa?", ["Leonardo", "da Vinci"]),
    ("Which planet is closest to the sun?", "Mercury"),
    ("What is the largest ocean on Earth?", "Pacific"),
    ("How many legs does a spider have?", ["8", "eight"]),
    ("What gas do plants take in from the air for photosynthesis?", ["carbon dioxide", "CO2"]),
    ("At what temperature in degrees Celsius does water boil at sea level?", ["100", "100°C"]),
    ("Which organ pumps blood through the human body?", "heart"),
    ("In which year did the first person walk on the moon?", "1969"),
    ("What is the longest river in South America?", "Amazon"),
    ("What is the currency of Japan?", "yen"),
    ("Who developed the theory of general relativity?", "Einstein"),
    ("Which metal is liquid at room temperature?", "mercury"),
    ("What is the tallest mountain above sea level?", "Everest"),
    ("What is the main language spoken in Brazil?", "Portuguese"),
    ("How many continents are there?", ["7", "seven"]),
    ("What do bees make from nectar?", "honey"),
    ("What is the hardest natural material?", "diamond"),
    ("Which animal is known as the king of the jungle?", "lion"),
    ("What is the name of the fairy tale girl who lost a glass slipper?", "Cinderella"),
    ("What force pulls objects towards the Earth?", ["gravity", "gravitational"]),
    ("Which instrument has 88 keys?", "piano"),
    ("What is the freezing point of water in degrees Fahrenheit?", "32"),
    ("Who was the first president of the United States?", "Washington"),
]
OPPOSITES = {"hot": "cold", "ancient": "modern", "generous": ["stingy", "selfish", "greedy", "miserly"],
             "victory": ["defeat", "loss"], "expand": ["contract", "shrink"], "brave": ["cowardly", "coward", "timid"],
             "north": "south", "empty": "full", "arrive": ["depart", "leave"], "shallow": "deep"}  # fmt: skip
PAST = {"I go to school by bus.": "went", "She writes a long letter.": "wrote", "They eat soup every day.": "ate",
        "We see the mountains.": "saw", "He buys fresh bread.": "bought", "The dog runs across the field.": "ran",
        "You speak too quietly.": "spoke", "The children sing a song.": "sang"}  # fmt: skip
CORRECT = {"She don't like apples.": ["doesn't", "does not"], "He have two brothers.": "has",
           "They was late for dinner.": "were", "I seen that movie yesterday.": "saw",
           "Me and him goes to work together.": ["go"], "There is many reasons to stay.": "are",
           "Yesterday I buyed a new lamp.": "bought", "The childs are playing.": "children"}  # fmt: skip
FRENCH = {
    "good morning": "bonjour",
    "thank you": "merci",
    "cat": "chat",
    "house": "maison",
    "water": "eau",
    "red": "rouge",
}
SPANISH = {
    "dog": "perro",
    "book": "libro",
    "good night": "buenas noches",
    "friend": "amigo",
    "milk": "leche",
    "blue": "azul",
}
GERMAN = {
    "bread": "Brot",
    "window": "Fenster",
    "apple": "Apfel",
    "good evening": "Guten Abend",
    "tree": "Baum",
    "thank you": "danke",
}
SENTIMENT = {
    "The soup was cold and the waiter ignored us all evening.": "negative",
    "I have never slept so well, what a wonderful hotel!": "positive",
    "This phone broke after two days and nobody answers my mails.": "negative",
    "A charming film with a great cast; we laughed a lot.": "positive",
    "Delivery took five weeks and the box was damaged.": "negative",
    "The teacher explains everything clearly and kindly.": "positive",
    "Best concert I have been to in years.": "positive",
    "The app crashes every time I open a photo.": "negative",
    "The room smelled of smoke and the shower did not work.": "negative",
    "Setting it up took one minute and it just works.": "positive",
}
EXTRACT = [
    ("Please send the signed form to anna.berg@example.org before Friday.", "email address", "anna.berg@example.org"),
    ("The meeting has been moved to 14:30 in room B12.", "time of the meeting", ["14:30", "2:30"]),
    ("Our order number is 48213 and it has not arrived.", "order number", "48213"),
    ("Call the front desk at 555-0142 if the key does not work.", "phone number", "555-0142"),
    (
        "Dr. Amara Okafor will replace Dr. Lund on the ward next week.",
        "name of the doctor who will replace another",
        "Okafor",
    ),
    ("The train from Leeds to York leaves from platform 9.", "platform", ["9", "nine"]),
    ("The invoice of 3 March shows a total of 240.50 euros.", "total", ["240.50", "240.5"]),
    ("Version 3.2.1 of the tool was released in May.", "version", "3.2.1"),
    ("Maria was born in Porto and studied in Vienna.", "city of birth", "Porto"),
    ("The parcel weighs 12 kg and goes to Bergen.", "destination", "Bergen"),
]
CODE_FACTS = [
    ("In Python, which keyword defines a function?", "def"),
    ("Which Python built-in function returns the length of a list?", "len"),
    ("In SQL, which keyword removes duplicate rows from the result of a SELECT?", "DISTINCT"),
    ("Which git command creates a commit?", "git commit"),
    ("Which HTML tag makes a hyperlink?", ["<a>", "<a", "anchor"]),
    ("In JavaScript, which keyword declares a constant?", "const"),
    ("Which shell command lists the files in a folder?", "ls"),
    ("In Python, which exception is raised when a key is missing from a dict?", "KeyError"),
    ("What is the time complexity of binary search?", ["O(log n)", "O(log(n))", "logarithmic"]),
    ("Which SQL clause filters groups after GROUP BY?", "HAVING"),
    ("Which HTTP status code means that a page was not found?", "404"),
    ("In CSS, which property changes the text color?", "color"),
    ("Which C function prints formatted text to standard output?", "printf"),
    ("Which data structure works first in, first out?", "queue"),
    ("In Python, which method adds one element to the end of a list?", "append"),
    ("Which git command shows the history of commits?", "git log"),
    ("What does JSON stand for?", "JavaScript Object Notation"),
    ("In Python, which statement handles an exception raised in a try block?", "except"),
]
CODE_WRITE = [
    ("Write a Python function `add(a, b)` that returns the sum of two numbers.", r"return\s+\(?a\s*\+\s*b"),
    ("Write a Python function `is_even(n)` that tells whether a number is even.", r"%\s*2\s*==\s*0|not\s+n\s*%\s*2"),
    ("Write a Python function `reverse(s)` that returns a string reversed.", r"\[::-1\]|reversed\(s"),
    ("Write a Python one-liner that builds a list of the squares of 0 to 9.", r"(\w)\s*\*\*\s*2\s+for\s+\1\s+in\s+range|(\w)\s*\*\s*\2\s+for"),
    ("Write an SQL query that counts the rows of the table orders.", r"(?i)select\s+count\s*\(.*\)[\s\S]*from\s+orders"),
    ("Write an SQL query that selects the names of all users older than 30, from the table users.", r"(?i)select[\s\S]*name[\s\S]*from\s+users[\s\S]*where[\s\S]*age\s*>\s*30"),
    ("Write a JavaScript function `double(x)` that returns twice its argument.", r"return\s+(2\s*\*\s*x|x\s*\*\s*2|x\s*\+\s*x)|=>\s*\(?(2\s*\*\s*x|x\s*\*\s*2)"),
    ("Write a Python function `maximum(values)` that returns the largest element of a list.", r"max\(values\)|>\s*(largest|maximum|max\w*|m|result|biggest)\b"),
    ("Write a regular expression that matches exactly three digits.", r"\\d\{3\}|\[0-9\]\{3\}|\\d\\d\\d"),
    ("Write a Python expression that joins the list `words` with commas.", r"""["'],\s?["']\.join\(words\)"""),
    ("Write a bash command that counts the lines of the file data.txt.", r"wc\s+-l\s+(<\s*)?[\"']?data\.txt|data\.txt\s*\|\s*wc\s+-l"),
    ("Write a Python function `factorial(n)`.", r"factorial\(n\s*-\s*1\)|\*=\s*i|math\.factorial"),
    ("Write Python code that opens the file notes.txt and reads all its text.", r"open\(\s*[\"']notes\.txt[\"'][\s\S]*\.read\(\)|Path\([\"']notes\.txt[\"']\)\.read_text"),
    ("Write a Python dict that maps 'a' to 1 and 'b' to 2.", r"\{\s*['\"]a['\"]\s*:\s*1\s*,\s*['\"]b['\"]\s*:\s*2\s*,?\s*\}"),
]  # fmt: skip
ODD = [
    ("apple, banana, carrot, cherry", "carrot"), ("cat, dog, sparrow, horse", "sparrow"), ("red, green, table, blue", "table"),
    ("Paris, London, Berlin, Africa", "Africa"), ("hammer, saw, drill, sandwich", "sandwich"),
    ("violin, trumpet, guitar, cello", "trumpet"), ("Monday, Friday, March, Sunday", "March"), ("salmon, tuna, eagle, trout", "eagle"),
]  # fmt: skip
CHOICES = [
    ("Which of these is a mammal?", ["Shark", "Dolphin", "Penguin", "Frog"], "B"),
    ("Which number is prime?", ["9", "15", "17", "21"], "C"),
    ("What do you use to measure temperature?", ["Thermometer", "Ruler", "Scale", "Clock"], "A"),
    ("Which word is a synonym of quick?", ["Slow", "Heavy", "Late", "Fast"], "D"),
    ("Which planet is known as the red planet?", ["Venus", "Mars", "Jupiter", "Saturn"], "B"),
    ("Which is the largest?", ["A mouse", "A cat", "An elephant", "A horse"], "C"),
    ("Which season comes after winter?", ["Spring", "Summer", "Autumn", "Winter"], "A"),
    ("Which of these languages is used to style web pages?", ["SQL", "Python", "C", "CSS"], "D"),
    ("What is the square root of 81?", ["7", "8", "9", "10"], "C"),
    ("Which of these is not a fruit?", ["Potato", "Pear", "Plum", "Peach"], "A"),
]
NAMES = ["Tom", "Lena", "Ravi", "Mia", "Omar", "Ines", "Kofi", "Yuki"]
THINGS = ["pencils", "cookies", "stickers", "marbles", "oranges", "cards"]


def word_problems(count: int) -> list[Row]:
    made = []
    for i in range(count):
        name, other, thing = draw.choice(NAMES[:4]), draw.choice(NAMES[4:]), draw.choice(THINGS)
        a, b, c = draw.randint(4, 30), draw.randint(2, 12), draw.randint(2, 9)
        forms = [
            (f"{name} has {a} {thing} and buys {b} more. {name} then gives {c} to {other}. How many {thing} does {name} have now?", a + b - c),
            (f"A box holds {b} {thing}. {name} fills {c} boxes and has {a} {thing} left over. How many {thing} are there in all?", b * c + a),
            (f"{name} reads {b} pages a day for {c} days, and {other} reads {a} pages in total. How many pages do they read together?", b * c + a),
            (f"{name} shares {b * c} {thing} equally among {c} friends. How many does each friend get?", b),
            (f"A ticket costs {b} dollars. {name} buys {c} tickets and pays with a 200 dollar voucher. How many dollars are left on it?", 200 - b * c),
            (f"{name} is {a} years old. {other} is {b} years older than {name}. How old will {other} be in {c} years?", a + b + c),
        ]  # fmt: skip
        prompt, target = forms[i % len(forms)]
        made.append(row("word_problem", prompt, target, "numeric"))
    return made


def sums(count: int) -> list[Row]:
    made = []
    for i in range(count):
        a, b, c = draw.randint(11, 99), draw.randint(11, 99), draw.randint(2, 9)
        forms = [(f"What is {a} + {b}?", a + b), (f"What is {a} times {c}?", a * c), (f"Calculate {a + b} - {b}.", a),
                 (f"What is {c * 10} percent of {b * 10}?", c * b)]  # fmt: skip
        made.append(row("sum", *forms[i % len(forms)], "numeric"))
    return made


def code_output(count: int) -> list[Row]:
    made = []
    for i in range(count):
        n, k = draw.randint(3, 7), draw.randint(2, 5)
        forms = [
            (f"What does this Python code print?\n\n```python\nprint(len('{'ab' * k}'))\n```", 2 * k),
            (f"What does this Python code print?\n\n```python\nx = {n}\nfor i in range({k}):\n    x += i\nprint(x)\n```", n + sum(range(k))),
            (f"What does this Python code print?\n\n```python\nprint(sum([{n}, {k}, {n + k}]))\n```", 2 * (n + k)),
            (f"What does this Python code print?\n\n```python\nprint({n * k} // {k})\n```", n),
            (f"What does this Python code print?\n\n```python\nvalues = [{n}, {k}, {n * k}]\nprint(max(values))\n```", n * k),
        ]  # fmt: skip
        made.append(row("code_output", *forms[i % len(forms)], "numeric"))
    return made


def language() -> list[Row]:
    rows = [row("opposite", f"What is the opposite of '{word}'?", target) for word, target in OPPOSITES.items()]
    rows += [row("past_tense", f"Rewrite in the past tense: {text}", target) for text, target in PAST.items()]
    rows += [row("grammar", f"Correct the grammar: {text}", target) for text, target in CORRECT.items()]
    for name, words in (("French", FRENCH), ("Spanish", SPANISH), ("German", GERMAN)):
        rows += [row("translate", f"Translate '{word}' into {name}.", target) for word, target in words.items()]
    rows += [row("extract", f"{text}\n\nWhat is the {what} in this text?", target) for text, what, target in EXTRACT]
    ask = "Is the sentiment of this review positive or negative? Answer with one word.\n\n"
    pattern = r"(?is)^(?!.*\b{}\b).*\b{}\b"
    for text, target in SENTIMENT.items():
        other = "positive" if target == "negative" else "negative"
        rows.append(row("sentiment", ask + text, pattern.format(other, target), "regex"))
    return rows


def main() -> None:
    rows = [row("capital", f"What is the capital of {country}?", city) for country, city in CAPITALS.items()]
    rows += [
        row("element", f"What is the chemical symbol of {name}?", rf"\b{symbol}\b", "regex")
        for name, symbol in ELEMENTS.items()
    ]
    rows += [row("knowledge", prompt, target) for prompt, target in KNOWLEDGE]
    rows += language()
    rows += [row("code_fact", prompt, target) for prompt, target in CODE_FACTS]
    rows += [row("code_write", prompt, target, "regex") for prompt, target in CODE_WRITE]
    rows += [row("odd_one_out", f"Which word does not belong with the others: {words}? Answer with that word only.", odd, "exact")
             for words, odd in ODD]  # fmt: skip
    for prompt, options, letter in CHOICES:
        listed = "\n".join(f"{mark}. {option}" for mark, option in zip("ABCD", options, strict=True))
        rows.append(row("choice", f"{prompt}\n{listed}\nAnswer with the letter.", letter, "choice"))
    rows += word_problems(42) + sums(20) + code_output(20)
    lines = [json.dumps(one, ensure_ascii=False) for one in rows]
    Path(__file__).with_name("questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
