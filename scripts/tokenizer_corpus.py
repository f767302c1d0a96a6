"""The text that tokenizers are compared on: drawn at random from sentences, code and odd characters below, the same on every machine."""

SEPARATOR = "\u001e"  # in no record

SENTENCES = """
The river was higher than anyone in the village could remember, and it was still rising.
It's what we'd said they'll do; you've seen it, I'm sure she's right, and we're not. THEY'RE HERE, IT'S LATE, I'D GO.
A transformer reads 4,096 tokens at 12.5 ms each, which makes 51.2 seconds (or so) in 2026.
She sells sea-shells; he doesn't. "Why?" asked O'Neill -- nobody knew...
Der Fluß stieg höher, als man sich je erinnern konnte; Übermut tut selten gut, Straße um Straße.
L'été dernier, nous avons mangé des crêpes à la plage où l'eau était tiède. Ça alors, cœur naïf !
El niño comió piña mañana por la mañana; ¿quién lo diría? ¡Qué cigüeña tan rápida!
Pchnąć w tę łódź jeża lub ośm skrzyń fig. Zażółć gęślą jaźń.
Příliš žluťoučký kůň úpěl ďábelské ódy na říčním břehu.
Árvíztűrő tükörfúrógép a hosszú út végén, öt hűtőházból kértünk színhúst.
Istanbul'da ılık bir akşam: ğüşiöç, IĞDIR'ın ışıkları ve İzmir'in güneşi.
Tiếng Việt có nhiều dấu: người dân ở đây rất thân thiện, buổi sáng uống cà phê sữa đá.
Съешь же ещё этих мягких французских булок, да выпей чаю. Объём, подъезд, ёлка!
Щастя — це коли їжак нарешті знайшов свою ґудзикову фабрику, і все.
Η γρήγορη αλεπού πήδηξε πάνω από τον τεμπέλη σκύλο· τι ωραία μέρα είναι σήμερα;
ქართული ენა ძალიან ლამაზია, მდინარე ჩქარა მიედინება.
Գետը բարձրացավ ավելի, քան որևէ մեկը կարող էր հիշել։
הנהר היה גבוה מכפי שמישהו בכפר יכול לזכור, וְהוּא עֲדַיִן עוֹלֶה.
كان النهر أعلى مما يتذكره أي شخص في القرية، وكان لا يزال يرتفع. ١٢٣٤٥ كتابًا
رودخانه بالاتر از آن بود که کسی به یاد داشته باشد؛ می‌خواهم ۱۲۳ کتاب بخوانم.
دریا بہت اونچا تھا، گاؤں میں کسی کو یاد نہیں تھا۔
नदी इतनी ऊँची थी जितनी गाँव में किसी को याद नहीं थी, और वह अभी भी बढ़ रही थी। १२३४
নদীটি গ্রামের কারও মনে থাকার চেয়েও উঁচু ছিল, এবং তখনও বাড়ছিল। ১২৩৪
ஆறு கிராமத்தில் யாருக்கும் நினைவில் இல்லாத அளவுக்கு உயர்ந்திருந்தது.
గ్రామంలో ఎవరికీ గుర్తులేనంత ఎత్తుగా నది ఉంది.
แม่น้ำสูงกว่าที่ใครในหมู่บ้านจะจำได้ และยังคงสูงขึ้นเรื่อย ๆ ๑๒๓๔๕
ແມ່ນ້ໍາສູງກວ່າທີ່ໃຜໃນບ້ານຈື່ໄດ້
မြစ်ရေသည် ရွာထဲက မည်သူမျှ မမှတ်မိလောက်အောင် မြင့်နေသည်။
ទន្លេខ្ពស់ជាងអ្នកភូមិណាម្នាក់អាចចងចាំបាន។
ወንዙ በመንደሩ ውስጥ ማንም ከሚያስታውሰው በላይ ከፍ ብሎ ነበር።
河水比村里任何人记得的都要高,而且还在上涨。二〇二六年五月十二日,共有12,345人参加。
河水比村裡任何人記得的都要高,而且還在上漲。「為什麼?」他問道。
川は村の誰もが覚えているよりも高く、まだ上がり続けていた。カタカナとひらがな、漢字ー全角123ABC!
강물은 마을 사람 누구도 기억하지 못할 만큼 높았고, 여전히 불어나고 있었다. 가격은 12,000원입니다.
བོད་ཡིག་ནི་སྙན་པོ་ཡོད། ༡༢༣
ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ ᠤᠨ ᠲᠡᠭᠦᠦᠬᠡ
""".strip().splitlines()

CODE = [
    'for (int64_t i = 0; i + 1 < n_{0}; ++i) {{\n    {1}[i] += {2} * {0}[i];  // {3}\n}}\n',
    'def {0}({1}, *, {2}=None):\n\t"""Returns {3}."""\n\tif {2} is None:\n\t\treturn [{1} ** 2 for {1} in range(0x{4:x})]\n\n\n',
    '{{\n  "{0}": [{4}, -{5}.5e-{6}, true, null],\n  "{1}": {{"{2}": "\\u00e9\\n"}}\n}}\n',
    '<div class="{0}-{1}" id=\'{2}{4}\'>&nbsp;{3}&amp;</div>\r\n\r\n<!-- {1} -->\r\n',
    "#!/bin/sh\nset -eu\ngrep -rn '{0}' \"$HOME/{1}\" | awk '{{print ${6}}}' >/dev/null 2>&1 || exit {6}\n",
    'SELECT {0}, COUNT(*) AS {1} FROM {2} WHERE id >= {4} GROUP BY 1 ORDER BY 2 DESC; -- {3}\n',
    'fn {0}<T: Clone>({1}: &[T]) -> Option<&T> {{\n        {1}.iter().rev().nth({4}usize)\n}}\n',
    '\\begin{{align}}\n  \\sum_{{i=1}}^{{{4}}} x_i^{{{5}}} &\\le \\frac{{{0}}}{{{1}}} \\\\\n\\end{{align}}\n',
    '| {0} | {1} |\n|-----|:---:|\n| {4} | **{5}** |\n\n```{2}\n===> {3} <===\n```\n',
    '0x{4:08X} {5:.3f} {4:,} 1e-{6} {4}.{5}.{6}-rc{6} https://{0}.example/{1}?q={2}%20{4}#{0}_{1}\n',
]
NAMES = "tokens head_dim kvCache HTTPServer rope_theta x y2 __init__ maxSeqLen snake_case_name camelCase N layers élan имя 变量".split()

EMOJI = [
    "👍", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "🤷🏿‍♀️", "🧑🏻‍🤝‍🧑🏾", "☕", "✈️", "🫠", "🫨", "1️⃣", "©️", "→", "∀x∈ℝ", "½", "²³", "Ⅻ", "①", "™",
]
SPACES = [
    " ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", "\u00a0", "\u00a0\u00a0", "\u3000",
    "\u2003", "\u2009", "\u202f", "\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\u1680", "\u180e", "\u200b", "\u200d", "\ufeff", "\u00ad",
]
DECOMPOSED = [
    "e\u0301te\u0301", "a\u0302\u0301", "o\u031b\u0323", "u\u0308\u0304", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u1100\u1161",
    "q\u0323\u0307", "q\u0307\u0323", "\u0915\u093c", "\u212b", "\u2126", "\ufb01", "\u1e9b\u0323", "Tie\u0302\u0301ng Vie\u0323\u0302t",
    "\u304b\u3099", "\u09c7\u09be", "\u0344", "z\u0335\u0321\u0489\u0360\u035d", "cafe\u0301", "caf\u00e9", "\u00df\u00fc", "\u00dfu\u0308",
]
ODD = [
    "\ue000", "\uf8ff", "\U000f0000", "\U0010fffd", "\ufffe", "\uffff", "\ufdd0", "\U0001ffff", "\U0010ffff", "\u0378", "\u05ff", "\U000e0fff",
    "\u0000", "\u0001", "\u0004", "\u0006", "\u0013", "\u001d", "\u007f", "\u0080", "\u009f", "\ufffd", "\u2065", "\U000e0001", "\u061c",
    "\u0897", "\u1c89", "\ua7cb", "\U00010d40", "\U00010d50", "\U000105c0", "\U00011f04", "\U00011f50", "\U00016d40", "\U00016d70",
    "\U0001e030", "\U00031350", "\U0002ebf0", "\U00011de0", "\U00016ff4", "\U0001f6dc", "\U0001cc00", "𝔘𝔫𝔦𝟙𝟚", "𒀀𒁁", "𓀀", "꧁",
]
CONTRACTIONS = [
    "it's", "IT'S", "We'Ve", "they'LL", "I'm", "I'M", "can't", "CAN'T", "you'd", "YOU'D", "we're", "WE'RE", "it\u2019s", "'s", "''s", "'\u017f",
    "x'\u017f", "'\u212a", "l'", "'", "'ll'll", "'T", "'rE", "don't've", "O'Re", "'sx", "'tis",
]
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|reserved_special_token_0|>", "<|reserved_special_token_247|>", "<|begin|>", "<|end|>", "<|im_start", "|im_end|>", "<|", "<<|im_start|>>",
    "<|im_start|><|im_end|>", " <left> ", "  <right>  ", "\n<both>\u3000", "<left><right>", "<left> <right> x", "word", " word ", "words", "sword", "word_",
    "-word-", "é word", "wordé", "Word", "<left", "<both><both>", " \t<left>\u00a0", "<right>\u0085\n", "<issue_start>", "<reponame>",
]


def prose(rng):
    words = " ".join(rng.choice(SENTENCES) for _ in range(rng.randint(1, 3))).split(" ")
    begin = rng.randrange(len(words))
    return " ".join(words[begin : begin + rng.randint(3, 60)])


def code(rng):
    parts = []
    for _ in range(rng.randint(1, 4)):
        names = [rng.choice(NAMES) for _ in range(3)]
        numbers = [rng.randrange(10 ** rng.randint(1, 9)), rng.randrange(1000), rng.randrange(1, 9)]
        parts.append(rng.choice(CODE).format(*names, prose(rng)[:40].replace("\n", " "), *numbers))
    return "".join(parts)


def numbers(rng):
    return rng.choice(["", " ", ",", "\n"]).join(str(rng.randrange(10 ** rng.randint(1, 30))) for _ in range(rng.randint(1, 8)))


def spaces(rng):
    parts = []
    for _ in range(rng.randint(1, 12)):
        parts.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 7, 16, 100]))
        parts.append(rng.choice(["", "", "x", ".", "1", "é", "语"]))
    return "".join(parts)


def repeated(rng):
    unit = rng.choice(["a", "ab", "=", "-", "aaaaab", "ha", "哈", "ก", "\u0301", "0", "12", "!?", "_", "'s", "<|", "🙂"])
    return unit * rng.choice([2, 5, 17, 64, 300, 1500])


def anything(rng):
    out = []
    for _ in range(rng.randint(1, 40)):
        while True:
            c = rng.randrange(rng.choice([0x80, 0x250, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]))
            if not 0xD800 <= c <= 0xDFFF and c != ord(SEPARATOR):
                break
        out.append(chr(c))
    return "".join(out)


def mixture(rng):
    sources = [EMOJI, SPACES, DECOMPOSED, ODD, CONTRACTIONS, SPECIAL, "abcdeXYZ", "0123456789", " .,:;!?-()"]
    chosen = rng.sample(sources, rng.randint(2, len(sources)))
    return "".join(rng.choice(rng.choice(chosen)) for _ in range(rng.randint(2, 50)))


def between(words):
    return lambda rng: rng.choice([" ", "", "\n"]).join(rng.choice(words) for _ in range(rng.randint(1, 15)))


KINDS = [
    (prose, 10), (code, 6), (numbers, 1), (spaces, 2), (repeated, 1), (anything, 2), (mixture, 4),
    (between(CONTRACTIONS), 1), (between(SPECIAL), 2), (between(DECOMPOSED), 1), (between(EMOJI), 1),
]  # fmt: skip


def make_records(rng, n_bytes=1_150_000):
    kinds, weights = zip(*KINDS)
    records = ["", " ", "\n", "a", *SENTENCES, *EMOJI, *SPACES, *DECOMPOSED, *ODD, *CONTRACTIONS, *SPECIAL]
    total = sum(len(r.encode()) for r in records)
    while total < n_bytes:
        record = "".join(rng.choices(kinds, weights)[0](rng) for _ in range(rng.choice([1, 1, 1, 2, 3])))
        records.append(record)
        total += len(record.encode())
    return records
