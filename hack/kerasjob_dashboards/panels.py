"""The few kinds of panels that the dashboards are made of. Every query says what it shows, in which unit."""

from __future__ import annotations

from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
FLEET, JOB, OPERATOR = "kerasjob-fleet", "kerasjob-job", "kerasjob-operator"
_LABEL = "${{__field.labels.{}}}"
TO_JOB = (
    f"/d/{JOB}?${{datasource:queryparam}}&var-namespace={_LABEL.format('namespace')}&var-job={_LABEL.format('name')}"
)

# Grafana's names of units.
Unit = Literal["short", "s", "bytes", "percentunit", "reqps", "none"]
Step = tuple[float | None, str]
PER_ROW = 24


def query(expression: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    """A query of Prometheus; `legend`: with the labels in it, as `{{name}}`."""
    made = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto")
    return made.instant() if instant else made.range()


def steps(*given: Step) -> dashboard.ThresholdsConfig:
    """From the lowest value (None) upwards, each with its colour."""
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in given])
    )


def over_time(
    title: str,
    text: str,
    unit: Unit,
    *queries: prometheus.Dataquery,
    width: int = 8,
    stacked: bool = False,
    links_to_job: bool = False,
    thresholds: tuple[Step, ...] = (),
) -> Builder[model.Panel]:
    """Lines over time."""
    panel = timeseries.Panel().title(title).description(text).unit(unit).datasource(SOURCE).span(width).height(8).min(0)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(commons.LegendDisplayMode.LIST)
        .placement(commons.LegendPlacement.BOTTOM)
    )
    panel.tooltip(common.VizTooltipOptions().mode(commons.TooltipDisplayMode.MULTI))
    if stacked:
        panel.fill_opacity(30).stacking(common.StackingConfig().mode(commons.StackingMode.NORMAL))
    if thresholds:
        panel.thresholds(steps(*thresholds))
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(commons.GraphThresholdsStyleMode.DASHED_AND_AREA)
        )
    if links_to_job:
        panel.data_links([dashboard.DashboardLink("Job").url(TO_JOB)])
    for each in queries:
        panel.with_target(each)
    return panel


def number(
    title: str, text: str, unit: Unit, expression: str, *, width: int = 4, thresholds: tuple[Step, ...] = ()
) -> Builder[model.Panel]:
    """One number as of now."""
    panel = stat.Panel().title(title).description(text).unit(unit).datasource(SOURCE).span(width).height(4)
    panel.with_target(query(expression, instant=True))
    return panel.thresholds(steps(*(thresholds or ((None, "blue"),))))


def states(title: str, text: str, *queries: prometheus.Dataquery, width: int = PER_ROW) -> Builder[model.Panel]:
    """A bar for each series that is coloured by what it is."""
    panel = statetimeline.Panel().title(title).description(text).datasource(SOURCE).span(width).height(5)
    # Grafana's own choice is a colour for each value, and all values here are 1.
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel.show_value(commons.VisibilityMode.NEVER)
    for each in queries:
        panel.with_target(each)
    return panel


def rows(
    title: str, text: str, columns: dict[str, str], parts: tuple[str, ...], *, width: int = PER_ROW
) -> Builder[model.Panel]:
    """A table of jobs: a query for each column. `parts`: columns that are parts of a whole."""
    panel = table.Panel().title(title).description(text).datasource(SOURCE).span(width).height(9)
    names = {}
    for letter, (name, expression) in zip("ABCDEFGH", columns.items(), strict=False):
        panel.with_target(query(expression, instant=True).format(PromQueryFormat.TABLE).ref_id(letter))
        names[f"Value #{letter}"] = name
    for name in parts:
        panel.override_by_name(name, [model.DynamicConfigValue(id_val="unit", value="percentunit")])
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    hidden = dict.fromkeys(("Time", "__name__", "instance", "pod", "node", "job", "container", "endpoint"), True)
    return panel.with_transformation(
        model.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": names})
    )


def page(uid: str, title: str, text: str) -> dashboard.Dashboard:
    """An empty dashboard with a data source to choose, and links to the others."""
    made = dashboard.Dashboard(title).uid(uid).description(text).tags(["kerasjob"]).refresh("10s").time("now-1h", "now")
    made.timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    others = dashboard.DashboardLink("KerasJob").type(model.DashboardLinkType.DASHBOARDS).tags(["kerasjob"])
    return made.link(others.keep_time(True).as_dropdown(True))


def chosen(name: str, label: str, values: str, *, several: bool) -> dashboard.QueryVariable:
    """A variable with the values that Prometheus has of a label. `values`: as in `label_values(metric, label)`."""
    made = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(values)
    made.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    return made.multi(True).include_all(True).all_value(".*") if several else made
