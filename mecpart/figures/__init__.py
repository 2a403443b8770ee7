"""Figures: results beside the paper's values, and plans as pictures; a method looks the same in all of them.

Bands and bars are 95 % bootstrap intervals over seeds (see `mecpart.comparison`); reference lines have none. Published
values are drawn in the same colours and the same unit, always in panels or with markers of their own, never as lines
among ours. Names are shown as they are, without any markup.
"""

from typing import TYPE_CHECKING

from mecpart.on_demand import import_on_demand

if TYPE_CHECKING:
    from mecpart.figures.convergence import plot_convergence
    from mecpart.figures.headline import plot_headline
    from mecpart.figures.plans.gantt import plot_plan
    from mecpart.figures.rows import plot_comparison, plot_estimates
    from mecpart.figures.saving import save_figure
    from mecpart.figures.style import COLUMN_WIDTH, REFERENCE_LINES, STYLE, STYLES, Style, styles
    from mecpart.figures.sweep import plot_sweep

__all__ = [
    "COLUMN_WIDTH",
    "REFERENCE_LINES",
    "STYLE",
    "STYLES",
    "Style",
    "plot_comparison",
    "plot_convergence",
    "plot_estimates",
    "plot_headline",
    "plot_plan",
    "plot_sweep",
    "save_figure",
    "styles",
]

# Where each name stands: matplotlib takes long to import, and is when the first of them is asked for.
_MODULES = {
    "convergence": ["plot_convergence"],
    "plans.gantt": ["plot_plan"],
    "headline": ["plot_headline"],
    "rows": ["plot_comparison", "plot_estimates"],
    "saving": ["save_figure"],
    "style": ["COLUMN_WIDTH", "REFERENCE_LINES", "STYLE", "STYLES", "Style", "styles"],
    "sweep": ["plot_sweep"],
}
__getattr__, __dir__ = import_on_demand(__name__, _MODULES)
