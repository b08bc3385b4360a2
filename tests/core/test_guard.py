"""The guard and the views: noise is caught or loses, real text of every script stays."""

# ruff: noqa: E501, RUF001 - other scripts have wider letters and other commas

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest

from zipspark import demo
from zipspark.core.codecs import lengths
from zipspark.core.guard import guarded
from zipspark.core.lens import Lens
from zipspark.core.limit import Limit
from zipspark.core.objectives import Coverage, Ratio
from zipspark.core.selectors import Lazy
from zipspark.core.sketch import Sketch
from zipspark.core.views import cut_texts, features, order, trusted
from zipspark.core.zlib_codec import ZlibCodec
from zipspark.core.zstd_codec import ZstdCodec

# Written for this test. Each stands alone in a pool of English: nothing else supports it.
REAL = {
    "Chinese": "今天早上我去市场买菜，发现西红柿的价格比上个星期便宜了很多。卖菜的老板告诉我，因为最近天气很好，农民的收成也很好，所以"
    "价格下降了。我买了两斤西红柿和一些鸡蛋，打算晚上做一道西红柿炒鸡蛋。回家的路上我遇到了邻居，她问我西红柿多少钱一斤，我告诉她以后，"
    "她也马上去市场了。晚上吃饭的时候，孩子们都说今天的西红柿炒鸡蛋特别好吃。",
    "Japanese": "昨日は友達と一緒に山へ行きました。朝早く電車に乗って、十時ごろ駅に着きました。天気がとてもよくて、山の上から海が見えました。"
    "お昼は山の上でおにぎりを食べました。午後は川のそばを歩いて、小さな魚をたくさん見ました。帰りの電車の中で、友達は疲れて寝てしまいました。"
    "来月もまた一緒に山へ行きたいと思います。",
    "Thai": "เมื่อวานนี้ฉันไปตลาดกับแม่ เราซื้อผักและผลไม้หลายอย่าง แม่บอกว่ามะม่วงปีนี้หวานกว่าปีที่แล้ว เราจึงซื้อมะม่วงสองกิโล "
    "ตอนเย็นแม่ทำข้าวเหนียวมะม่วงให้ทุกคนกิน พ่อบอกว่าอร่อยมาก และน้องขอกินอีกจาน วันนี้แม่จะไปตลาดอีกครั้งเพื่อซื้อมะม่วงเพิ่ม",
    "Arabic": "ذهبت أمس إلى السوق مع أبي لنشتري الخضار والفواكه. كان السوق مزدحما جدا لأن اليوم كان يوم الجمعة. قال أبي إن أسعار "
    "الطماطم ارتفعت هذا الشهر، لكن أسعار البرتقال انخفضت. اشترينا كيلو من الطماطم وثلاثة كيلو من البرتقال ثم عدنا إلى البيت. "
    "في المساء أعدت أمي سلطة من الطماطم وشربنا عصير البرتقال.",
    "Russian": "Вчера мы с братом поехали на дачу, чтобы собрать яблоки. Погода была хорошая, и яблок в этом году очень много. Мы "
    "собрали пять больших корзин, а потом пили чай на веранде. Брат сказал, что из яблок можно сделать варенье и пироги. Вечером "
    "мы поехали домой, и мама сразу начала готовить яблочный пирог.",
    "Hindi": "कल मैं अपने भाई के साथ बाज़ार गया था। हमने वहाँ से सब्ज़ियाँ और फल खरीदे। दुकानदार ने बताया कि इस साल आम बहुत मीठे हैं, "
    "इसलिए हमने दो किलो आम खरीदे। घर आकर माँ ने आम का रस बनाया। सबने बताया कि आम का रस बहुत अच्छा है। आज माँ फिर से बाज़ार जाएँगी।",
    "Korean": "어제 저는 친구와 함께 시장에 갔습니다. 우리는 시장에서 사과와 배를 샀습니다. 가게 주인은 올해 사과가 작년보다 더 맛있다고 "
    "말했습니다. 그래서 우리는 사과를 다섯 개 더 샀습니다. 저녁에는 친구 집에서 함께 저녁을 먹고 사과를 먹었습니다. 친구의 어머니는 사과가 정말 "
    "맛있다고 말했습니다.",
    "Greek": "Χθες το πρωί πήγα στην αγορά με τη μητέρα μου. Αγοράσαμε ντομάτες, πατάτες και φρέσκο ψωμί. Ο φούρναρης μας είπε ότι το "
    "ψωμί είναι ακόμα ζεστό. Στο σπίτι η μητέρα μου έφτιαξε μια σαλάτα με ντομάτες και φάγαμε όλοι μαζί. Το απόγευμα ο πατέρας μου "
    "πήγε πάλι στην αγορά, γιατί ξεχάσαμε να αγοράσουμε τυρί.",
    "German": "Gestern bin ich mit meiner Schwester in die Stadt gefahren, weil wir neue Schuhe kaufen wollten. In dem ersten Geschäft "
    "waren die Schuhe zu teuer, in dem zweiten Geschäft gab es keine in meiner Größe. Erst im dritten Geschäft haben wir etwas "
    "gefunden. Danach haben wir in einem kleinen Café gesessen, und meine Schwester hat mir von ihrer neuen Wohnung erzählt.",
    "Turkish": "Dün sabah kardeşimle birlikte pazara gittik. Pazarda taze domates, biber ve patlıcan aldık. Satıcı bize bu yıl "
    "domateslerin çok güzel olduğunu söyledi. Eve geldikten sonra annem bize güzel bir yemek yaptı. Akşam komşularımız geldi ve "
    "hep birlikte yemek yedik. Komşumuz yemeğin çok güzel olduğunu söyledi.",
    "Python": "def longest_run(values):\n    best = count = 0\n    previous = None\n    for value in values:\n        count = count + 1 if "
    "value == previous else 1\n        best = max(best, count)\n        previous = value\n    return best\n",
    "Rust": "impl Stack {\n    pub fn push(&mut self, item: u32) {\n        self.items.push(item);\n    }\n\n    pub fn pop(&mut self) -> "
    "Option<u32> {\n        self.items.pop()\n    }\n\n    pub fn is_empty(&self) -> bool {\n        self.items.is_empty()\n    }\n}\n",
    "SQL": "SELECT c.name, SUM(o.total) AS revenue\nFROM customers AS c\nJOIN orders AS o ON o.customer_id = c.id\nWHERE o.placed_at >= "
    "'2021-01-01'\nGROUP BY c.name\nHAVING SUM(o.total) > 1000\nORDER BY revenue DESC;\n",
    "JSON": json.dumps(
        [{"id": row, "name": f"customer {row}", "active": row % 3 > 0, "tags": ["new"]} for row in range(9)]
    ),
    "LaTeX": r"Let $f \colon [a, b] \to \mathbb{R}$ be continuous. Then \begin{equation} \int_a^b f(x) \, dx = F(b) - F(a), "
    r"\qquad F'(x) = f(x), \end{equation} and for $f(x) = x^2$ we get $\int_0^3 x^2 \, dx = \frac{27}{3} = 9$.",
    "table": "city      | 2019  | 2020  | 2021\n----------+-------+-------+------\nHamburg   | 1.847 | 1.852 | 1.853\nMunich    | 1.484 | "
    "1.488 | 1.487\nCologne   | 1.087 | 1.083 | 1.073\nFrankfurt | 0.763 | 0.764 | 0.759\n",
    "arithmetic": "((-9 + -4 + 0 * -1) * (4 * -3 * -8 - -4)) =\n-1300\n((7 - 2) * (3 + 6 * -5)) =\n-135",
}
CAUGHT = {
    "base64": "support",
    "hex": "support",
    "uuids": "support",
    "float_tables": "support",
    "junk_block": "entropy:high",  # its near-copies support each other
    "mojibake": "bytes:mojibake",
    "lorem": "bytes:filler",
}
LOSING = ("word_salad", "digit_frames")  # made of what the pool supports: no reason to guard, but little to gain


def generated(pool, count):
    path = Path(__file__).parents[2] / "benchmarks" / "noise.py"
    spec = importlib.util.spec_from_file_location("noise", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.noise(pool, count)


def buffer(texts):
    return b"".join(texts), np.concatenate([[0], np.cumsum(lengths(texts))]).astype(np.int64)


def sketched(texts):
    sketch = Sketch(cell_bits=23)
    sketch.count(*buffer(texts))
    return sketch


def seen_texts(data, offsets, look, usual=1.0):
    """What objective `ratio` sees of each sample."""
    cut = cut_texts(data, offsets, look, trusted(data, offsets, look, usual))
    return [cut.get(row, data[offsets[row] : offsets[row + 1]]) for row in range(len(offsets) - 1)]


def reasons(texts, lens, codec=None):
    return guarded(texts, (codec or ZstdCodec()).sizes(texts), lens.look(*buffer(texts)))


@pytest.fixture(scope="module")
def good():
    """The docstrings of some length."""
    return sorted({record["response"].encode() for record in demo.corpus() if len(record["response"]) > 100})


@pytest.fixture(scope="module")
def noise(good):
    """Fifty samples of each kind, as long as the docstrings are."""
    return generated(good, 450)


@pytest.fixture(scope="module")
def lens(good, noise):
    every = {*good, *(text for texts in noise.values() for text in texts)}
    return Lens.of(sketched([*sorted(every), *(text.encode() for text in REAL.values())]))


# --- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [ZstdCodec(), ZlibCodec(9)], ids=["zstd", "zlib"])
@pytest.mark.parametrize("name", REAL)
def test_real_text_of_any_script_stays_though_nothing_supports_it(name, codec, lens):
    text = REAL[name].encode()
    assert reasons([text], lens, codec) == [None]


def test_a_list_in_many_scripts_stays_though_its_bytes_are_as_even_as_base64(lens):
    openings = [text[:40] for text in list(REAL.values())[:10]]
    assert reasons([" ".join(openings).encode()], lens) == [None]


@pytest.mark.parametrize("name", ["German", "Python", "JSON"])
def test_the_same_letters_in_random_order_do_not(name, lens):
    letters = [letter for letter in REAL[name] if letter.isalnum()]
    random.Random(0).shuffle(letters)
    assert reasons(["".join(letters).encode()], lens)[0].startswith("support:0.0")


def test_hardly_any_docstring_is_lost(good, lens):
    lost = [reason for reason in reasons(good, lens) if reason]
    assert len(lost) <= len(good) // 200, lost


@pytest.mark.parametrize("kind", CAUGHT)
def test_noise_is_caught_with_its_reason(kind, noise, lens):
    long = [text for text in noise[kind] if len(text) >= 200]
    assert len(long) >= 20
    found = [reason or "-" for reason in reasons(long, lens)]
    assert sum(reason.startswith(CAUGHT[kind]) for reason in found) >= 0.9 * len(found), found


def test_support_is_judged_only_where_a_sample_shows_enough_of_it(noise, lens):
    text = next(text for text in noise["hex"] if len(text) >= 400)
    assert reasons([text[:30], text[:400]], lens) == [None, "support:0.00"]


def test_fewer_bytes_than_a_gram_are_too_few(lens):
    assert reasons([b"9 is odd", b"9 = odd"], lens) == [None, "bytes:short"]


def test_said_again_and_again(good, lens):
    text = next(text for text in good if 300 < len(text) < 400)
    assert reasons([text * 3, text * 40], lens) == [None, "entropy:low"]


def test_one_broken_quotation_mark_is_no_mojibake(lens):
    broken = "it’s".encode().decode("latin-1").encode()
    prose = b"Returns the number of items, and " + broken + b" zero where there are none. "
    assert reasons([prose, broken * 9], lens) == [None, "bytes:mojibake"]


@pytest.mark.parametrize("name", ["Chinese", "Thai", "Arabic", "Russian", "Hindi", "Korean", "Greek"])
@pytest.mark.parametrize("charset", ["latin-1", "cp1252"])
def test_mojibake_of_any_script(name, charset, lens):
    readable = "".join(letter for letter in REAL[name] if _decodes(letter, charset))
    broken = readable.encode().decode(charset).encode()
    assert reasons([readable.encode(), broken], lens) == [None, "bytes:mojibake"]


def _decodes(letter, charset):
    try:
        return letter.encode().decode(charset) is not None
    except UnicodeDecodeError:  # cp1252 leaves five bytes undefined
        return False


def test_a_page_with_some_filler_stays(noise, lens):
    page = b"The paragraph below stands in for the text that the customer has yet to write, please replace it: "
    assert reasons([page + noise["lorem"][0][:60], noise["lorem"][0]], lens) == [None, "bytes:filler"]


def test_what_is_said_of_a_sample_depends_on_no_other(noise, lens):
    texts = [text for texts in noise.values() for text in texts[:5]] + [text.encode() for text in REAL.values()]
    alone = [reasons([text], lens)[0] for text in texts]
    assert reasons(texts, lens) == alone
    assert len({(reason or "").partition(":")[0] for reason in alone}) == 4


# --- views ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSING)
def test_words_or_numbers_in_random_order_are_out_of_order(kind, good, noise, lens):
    def middle(texts):
        return float(np.median(order(*buffer(texts), lens.look(*buffer(texts)))))

    assert middle(noise[kind]) < 0.85 * middle(good)


def test_a_sample_in_order_is_seen_whole_and_a_salad_in_part(good, noise, lens):
    def share_seen(texts):
        data, offsets = buffer(texts)
        seen = lengths(seen_texts(data, offsets, lens.look(data, offsets), usual))
        return seen / lengths(texts)

    usual = float(np.median(order(*buffer(good), lens.look(*buffer(good)))))
    assert np.mean(share_seen(good) == 1) > 0.75
    assert np.mean(share_seen(noise["word_salad"]) < 0.6) > 0.75


@pytest.mark.parametrize("name", ["Russian", "Korean", "Turkish", "Arabic"])
def test_what_the_pool_says_nothing_of_is_in_order(name, good):
    text = REAL[name].encode()
    data, offsets = buffer([text])
    look = Lens.of(sketched(good)).look(data, offsets)
    assert look.support[0] < 0.1
    assert seen_texts(data, offsets, look) == [text]


def test_with_usual_zero_nothing_is_out_of_order(noise, lens):
    texts = noise["word_salad"]
    data, offsets = buffer(texts)
    look = lens.look(data, offsets)
    assert seen_texts(data, offsets, look, usual=0.0) == texts
    assert features(look, trusted(data, offsets, look, usual=0.0)) == look.features()
    assert features(look, trusted(data, offsets, look)) != look.features()


def test_what_the_anchor_holds_is_cut_out_and_a_view_is_never_empty(good):
    told, fresh = good[0], good[1]
    lens = Lens.of(sketched(good), anchor=sketched([told]))
    data, offsets = buffer([told, told + fresh, fresh])
    views = seen_texts(data, offsets, lens.look(data, offsets), usual=0.0)
    assert views[0] == b" "
    assert len(fresh) - 40 < len(views[1]) < len(fresh) + 40
    assert len(views[2]) > 0.8 * len(fresh)


def test_views_do_not_depend_on_where_a_sample_lies(good, noise, lens):
    texts = [*good[:20], *noise["word_salad"][:20], b"short", *noise["digit_frames"][:20]]
    data, offsets = buffer(texts)
    whole = seen_texts(data, offsets, lens.look(data, offsets))
    tail = seen_texts(data, offsets[25:], lens.look(data, offsets[25:]))
    assert whole[25:] == tail
    alone = [seen_texts(text, np.array([0, len(text)]), lens.look(text, np.array([0, len(text)])))[0] for text in texts]
    assert whole == alone


# --- together -------------------------------------------------------------------------------------------------------


def noise_share(objective, good, noise, guard):
    """Share of noise in the picks of a tenth of the pool, a twentieth of it noise."""
    bad = {text for texts in noise.values() for text in texts[: len(good) // 19 // len(noise)]}
    texts = sorted({*good, *bad})
    data, offsets = buffer(texts)
    lens = Lens.of(sketched(texts))
    look = lens.look(data, offsets)
    if guard:
        usual = float(np.median(order(data, offsets, look)))
        ratio_views = seen_texts(data, offsets, look, usual)
        feature_views = features(look, trusted(data, offsets, look, usual))
        free = [row for row, reason in enumerate(reasons(texts, lens)) if reason is None]
    else:
        ratio_views, feature_views, free = texts, look.features(), list(range(len(texts)))
    costs = lengths(texts)[free].astype(np.float64)
    if objective == "ratio":
        value = Ratio(ZstdCodec().context([ratio_views[row] for row in free]))
    else:
        value = Coverage([feature_views[row] for row in free], lens.weights(), lengths(texts)[free])
    picks = Lazy()(value, costs, Limit(costs, float(len(data) // 10))).indices
    return np.mean([texts[free[pick]] in bad for pick in picks])


def test_with_the_guard_ratio_picks_hardly_any_noise_and_without_it_mostly(good, noise):
    assert noise_share("ratio", good, noise, guard=False) > 0.1
    assert noise_share("ratio", good, noise, guard=True) < 0.03


def test_with_the_guard_coverage_picks_hardly_any_noise(good, noise):
    assert noise_share("coverage", good, noise, guard=False) > 0.02
    assert noise_share("coverage", good, noise, guard=True) < 0.02
