"""Chinese and Japanese letters, which no space parts into words: for the patterns that cut a text into words.

>>> import re
>>> re.findall(f"[{UNSPACED}]+", "GPT-4 では 今日の天気、")
['では', '今日の天気']
"""

from __future__ import annotations

# Han with its marks of repetition, hiragana, katakana (narrow ones too), as Unicode 14 assigns them; no punctuation.
UNSPACED = (
    "\u3005\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufa6d\ufa70-\ufad9\uff66-\uff9d\U00020000-\U0002a6df\U0002a700-\U0002b738\U0002b740-\U0002b81d"
    "\U0002b820-\U0002cea1\U0002ceb0-\U0002ebe0\U0002f800-\U0002fa1d\U00030000-\U0003134a"
)
