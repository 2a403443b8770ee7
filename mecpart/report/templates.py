"""The templates of the report: its first page, the page of a notebook, and the cells in it."""

INDEX = """\
{% extends "page" %}
{% from "macros" import downloads, facts, value %}
{% block title %}Published beside reproduced ({{ profile }} profile){% endblock %}
{% block body %}
<header>
<p class="kicker">mecpart, {{ profile }} profile</p>
<h1>Does fine-grained model partitioning outperform the state of the art?</h1>
{% for section in sections if section.answer %}
<p class="lead answer">{{ section.answer[0] }} <small>{{ section.answer[1] }}</small></p>
{% else %}
<p class="lead absent">The answer needs one of Figs. 8, 9, 10 and 12:
<code>mecpart reproduce --profile {{ profile }} --only fig8</code> makes it.</p>
{% endfor %}
<p class="lead">mecpart computes the model of H. Li et al., “Distributed DNN Inference With
Fine-Grained Model Partitioning in Mobile Edge Computing Networks” (IEEE Transactions on
Mobile Computing, 2024, <a href="https://doi.org/10.1109/TMC.2024.3357874">doi 10.1109/TMC.2024.3357874</a>), trains
its learners, runs its baselines and finds the exact optimum. This report shows what came out with {{ size.seeds }}
seeds and {{ size.episodes }} training episodes, beside what was published. Intervals are 95&nbsp;% intervals over
seeds. What everything is, and how to use it:
{% if has_docs %}<a href="docs/index.html">documentation</a>{% else %}<code>make docs</code> shows it{% endif %}.</p>
{% if size.seeds < fewest_seeds %}
<p class="notice"><strong>A trial, no evidence:</strong> the {{ profile }} profile only proves that everything runs. No
verdict is given on fewer than {{ fewest_seeds }} seeds.</p>
{% endif %}
<details class="terms">
<summary>What the words mean, and which methods there are</summary>
<dl>
{% for word, meaning in glossary.items() %}
<dt>{{ word }}</dt><dd>{{ meaning }}</dd>
{% endfor %}
</dl>
<table class="data">
<thead><tr><th>Method</th><th>Learns</th><th>Knows the model</th><th>What it does</th><th>In scenario</th></tr></thead>
<tbody>
{% for method, learns, knows, does, where in methods %}
<tr><th scope="row" data-label="Method">{{ method }}</th><td data-label="Learns">{{ learns }}</td>
<td data-label="Knows the model">{{ knows }}</td><td data-label="What it does">{{ does }}</td>
<td data-label="In scenario">{% if where == "both" %}both{% else %}<code>{{ where }}</code>{% endif %}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
{{ facts(provenance) }}
</header>
<main>
{% for section in sections %}
<section>
<h2 class="scenario" id="{{ section.scenario }}">Scenario <code>{{ section.scenario }}</code></h2>
{% if section.missing %}
<div class="notice">
<strong>Not in this report,</strong> because there is no valid result:
<ul>
{% for name, reason in section.missing.items() %}
<li><code>{{ name }}</code>: {{ reason }}</li>
{% endfor %}
</ul>
</div>
{% endif %}

{% if section.claims is not none %}
<p class="tally"><a href="#{{ section.scenario }}-claims">Of {{ section.counts.values() | sum }} claims of the
paper</a>:
{% for verdict, count in section.counts.items() %}
<span class="verdict {{ verdict | replace(" ", "-") }}">{{ count }} {{ verdict }}</span>
{% endfor %}
</p>
{% endif %}

<h3>The headline</h3>
{% if section.headline is none %}
<p class="absent">There is no headline table: <code>mecpart reproduce --profile {{ profile }} --only headline</code>
makes it.</p>
{% elif not section.headline and not section.verdicts %}
<p class="absent">The headline table has no row for the learned baselines.</p>
{% else %}
<ul>
{% for sentence in section.answer[2:] %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% if section.verdicts %}
<p>How much less delay Proposed has than each learned baseline, and than the better of them in each setting, in per
cent, over {{ section.headline[0].scope if section.headline else "the figures that were run" }}. No method can do better
than what is attainable. <em>By this much</em>: between half and twice what is stated.</p>
<table class="data">
<thead><tr><th>Against</th><th>Quantity</th><th>Abstract states</th><th>Measured (interval)</th><th>Attainable</th>
<th>Less</th><th>By this much</th></tr></thead>
<tbody>
{% for row in section.verdicts %}
<tr>
<th scope="row" data-label="Against">{{ row.baseline }}</th>
<td data-label="Quantity">{{ row.metric }}</td>
<td data-label="Abstract states" class="number">{{ row.abstract }}</td>
<td data-label="Measured" class="number">{{ value(row.measured, row.interval) }}</td>
<td data-label="Attainable" class="number">{{ row.attainable }}</td>
{% for label, said in (("Less", row.less), ("By this much", row.by_this_much)) %}
<td data-label="{{ label }}"><span class="verdict {{ said | replace(" ", "-") }}">{{ said }}</span></td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
{% endif %}
{% if section.headline %}
<details>
<summary>The average over both learned baselines, as the abstract may mean it</summary>
<p>Both together, averaged in two ways over {{ section.headline[0].scope }}. An average with a weak baseline does not
show that the strong one is outperformed.</p>
<table class="data">
<thead><tr><th>Quantity</th><th>Averaging</th><th>Abstract states</th><th>Published curves give</th>
<th>Measured (interval)</th><th>Attainable</th></tr></thead>
<tbody>
{% for row in section.headline %}
<tr>
<th scope="row" data-label="Quantity">{{ row.metric }}</th>
<td data-label="Averaging">{{ row.averaging }}
{%- if row.reason %}<small>undefined: {{ row.reason }}</small>{% endif %}</td>
<td data-label="Abstract states" class="number">{{ row.abstract }}</td>
<td data-label="Published curves" class="number">{{ row.curves }}</td>
<td data-label="Measured" class="number">{{ value(row.measured, row.interval) }}</td>
<td data-label="Attainable" class="number">{{ row.attainable }}</td>
</tr>
{% endfor %}
</tbody>
</table>
</details>
{% endif %}
{% if "headline" in section.written %}
<p class="files">Every reading of it: {{ downloads(section.written.headline, "") }}</p>
{% endif %}
{% endif %}

<h3>Agreement with the reference</h3>
{% if section.agreement %}
<p>{{ section.agreement | selectattr(0) | list | length }} of {{ section.agreement | length }} experiments agree with
the reference results of this repository ({{ section.reference }}).</p>
<details{% if not section.agreement | map(attribute=0) | min %} open{% endif %}>
<summary>Each experiment</summary>
<ul>
{% for _, told in section.agreement %}
<li>{{ told }}</li>
{% endfor %}
</ul>
<p>Methods that do not learn must be the same to a ten-thousandth in every seed; training amplifies rounding, so that
learners are tested for a change within seeds, corrected for the number of tests.</p>
</details>
{% else %}
<p class="absent">There are no reference results for the {{ profile }} profile of this scenario.</p>
{% endif %}

<h3>Figures at a glance</h3>
<div class="gallery">
{% for page in section.pages %}
{% for figure in page.figures if "SVG" in figure.paths or "PNG" in figure.paths %}
<figure>
<a href="{{ page.path | urlencode }}"><img src="{{ figure.paths.get("SVG", figure.paths.get("PNG")) | urlencode }}" \
alt="{{ page.title }} ({{ figure.name }})"></a>
<figcaption><a href="{{ page.path | urlencode }}">{{ label(figure.name) }}</a> {{ downloads(figure, "") }}</figcaption>
</figure>
{% endfor %}
{% endfor %}
</div>

<h3>Notebooks</h3>
<table class="data notebooks">
<thead><tr><th>Notebook</th><th>About</th><th>Time taken</th><th>Tables</th></tr></thead>
<tbody>
{% for page in section.pages %}
<tr>
<th scope="row" data-label="Notebook"><a href="{{ page.path | urlencode }}">{{ label(page.name) }}</a></th>
<td data-label="About">{{ page.title }}</td>
<td data-label="Time taken" class="number">{{ page.taken }}</td>
<td data-label="Tables"><ul>
{% for table in page.tables %}
<li>{{ table.name }} {{ downloads(table, "") }}</li>
{% endfor %}
</ul></td>
</tr>
{% endfor %}
</tbody>
</table>

<h3 id="{{ section.scenario }}-claims">Every claim and its verdict</h3>
{% if section.claims is none %}
<p class="absent">There is no table of claims: <code>mecpart reproduce --profile {{ profile }} --only headline</code>
makes it.</p>
{% else %}
<p>A claim is <em>reproduced</em> if the whole interval lies where the claim says, <em>not reproduced</em> if the whole
interval lies elsewhere, and <em>undecided</em> if it straddles the border, if the quantity is undefined, or with fewer
than {{ fewest_seeds }} seeds. The last column is the smallest difference that this number of seeds could have
detected.</p>
<p class="filter" role="group" aria-label="Show claims by verdict">
<button type="button" data-show="" aria-pressed="true" disabled>all <b>{{ section.counts.values() | sum }}</b></button>
{% for verdict, count in section.counts.items() %}
<button type="button" data-show="{{ verdict }}" class="{{ verdict | replace(" ", "-") }}" aria-pressed="false" \
disabled>{{ verdict }} <b>{{ count }}</b></button>
{% endfor %}
</p>
<table class="data claims">
<thead><tr><th>Claim</th><th>Where</th><th>Verdict</th>
{% for other in section.others %}
<th>In <code>{{ other }}</code></th>
{% endfor %}
<th>Published</th><th>Measured (interval)</th><th>Detectable</th></tr></thead>
{% for name, rows in section.claims %}
{% set page = section.by_name.get(name) %}
<tbody>
<tr class="group"><th colspan="{{ 6 + section.others | length }}" scope="rowgroup">\
{{ label(name) }}{% if page %}: {{ page.title }}{% endif %}</th></tr>
{% for row in rows %}
<tr data-verdict="{{ row.verdict }}">
<td data-label="Claim">{% if page %}<a href="{{ page.path | urlencode }}">{{ row.claim }}</a>{% else %}{{ row.claim }}\
{% endif %}{% if row.test %}<small>{{ row.test }}</small>{% endif %}\
{% if row.reason %}<small>{{ row.reason }}</small>{% endif %}</td>
<td data-label="Where">{{ row.where }}</td>
<td data-label="Verdict"><span class="verdict {{ row.verdict | replace(" ", "-") }}">{{ row.verdict }}</span></td>
{% for other, said in row.elsewhere.items() %}
<td data-label="In {{ other }}">{% if said %}<span class="verdict {{ said | replace(" ", "-") }}">{{ said }}</span>\
{% endif %}</td>
{% endfor %}
<td data-label="Published" class="number">{{ row.published }}</td>
<td data-label="Measured" class="number">{{ value(row.measured, row.interval) }}</td>
<td data-label="Detectable" class="number">{{ row.detectable }}</td>
</tr>
{% endfor %}
</tbody>
{% endfor %}
</table>
{% if "claims" in section.written %}
<p class="files">All claims: {{ downloads(section.written.claims, "") }}</p>
{% endif %}
{% endif %}
</section>
{% endfor %}
</main>
{% endblock %}
"""

NOTEBOOK = """\
{% extends "page" %}
{% from "macros" import downloads, facts %}
{% block title %}{{ label(page.name) }}: {{ page.title }} ({{ profile }}, {{ page.scenario }}){% endblock %}
{% block body %}
<nav aria-label="Pages">
<a class="home" href="../index.html">Overview</a>
{% if has_docs %}<a href="../docs/index.html">Documentation</a>{% endif %}

{% for other in pages %}
<a href="../{{ other.path | urlencode }}"{% if other.name == page.name %} aria-current="page"{% endif %}>\
{{ label(other.name) }}</a>
{% endfor %}
<button type="button" class="fold" hidden>Show code</button>
</nav>
<p class="kicker">Scenario <code>{{ page.scenario }}</code>, {{ profile }} profile, {{ page.taken }}</p>
<main class="notebook">
{{ content | safe }}
</main>
<footer>
{% if page.tables or page.figures %}
<h2>Files</h2>
<ul class="artifacts">
{% for artifact in page.tables + page.figures %}
<li>{{ artifact.name }} {{ downloads(artifact, "../") }}</li>
{% endfor %}
</ul>
{% endif %}
<h2>Where this comes from</h2>
{{ facts(provenance) }}
<p class="turn">
{% if before %}<a rel="prev" href="../{{ before.path | urlencode }}">Before: {{ label(before.name) }}</a>{% endif %}

{% if after %}<a rel="next" href="../{{ after.path | urlencode }}">Next: {{ label(after.name) }}</a>{% endif %}

</p>
</footer>
{% endblock %}
"""

CELLS = """\
{% extends "classic/base.html.j2" %}
{% block input_group %}
{% set tags = cell.metadata.get("tags", []) %}
<details class="code"><summary>{{ "Parameters, as they are by default" if "parameters" in tags else
"Parameters of this run" if "injected-parameters" in tags else "Code" }}</summary>
{{ super() }}
</details>
{% endblock %}
"""
