import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from search.page import Scale, render_page
from search.plot_data import plot_data


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.texts += [value for key, value in attrs if key == "data-text"]


def parse(page):
    tags = Tags()
    tags.feed(page)
    return tags


def test_page_has_one_mark_for_each_point(study):
    data = plot_data(study)
    assert parse(render_page(data)).texts == ["\n".join(p.lines) for p in data.points]


def test_drawing_is_well_formed(study):
    svg = re.search(r"<svg.*</svg>", render_page(plot_data(study)), re.DOTALL).group()
    assert ElementTree.fromstring(svg).tag == "svg"  # noqa: S314


def test_page_needs_no_network(study):
    page = render_page(plot_data(study))
    assert not re.findall(r"https?://|<link|src=|@import|url\(", page)


def test_text_of_a_study_cannot_become_markup(study):
    evil = '"><script>alert(1)</script>'
    trial = replace(study.trials[1], label=evil, reason=evil)
    tags = parse(render_page(plot_data(replace(study, name=evil, trials=(trial,)))))
    assert tags.names.count("script") == 1
    assert evil in tags.texts[0]


def test_a_study_without_trials_has_a_page(study):
    assert "budget 6 ms" in render_page(plot_data(replace(study, trials=(), dense_top1=None)))


@given(st.floats(1, 9), st.floats(1, 9))
def test_faster_is_left_and_better_is_higher(first, second):
    scale = Scale(latencies=(0.0, 10.0), top1s=(0.0, 10.0))
    low, high = sorted((first, second))
    assert scale.x(low) <= scale.x(high)
    assert scale.y(low) >= scale.y(high)
