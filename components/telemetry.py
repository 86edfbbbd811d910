"""What Cloud Monitoring shows and watches of one endpoint: a dashboard, and alerts for errors, slowness and idling.

Owns the dashboard and the alert policies. Leaves alone who is told: notification channels are named, never made.
Metrics come by themselves; nothing here changes what the container or the endpoint does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from infra import telemetry

TOKEN = "vertex-vllm:telemetry:ServingTelemetry"


@dataclass(frozen=True, kw_only=True)
class ServingTelemetryArgs:
    """Which endpoint is shown, and who hears of it.

    Attributes:
        project: Project id.
        endpoint_id: Id of the endpoint; metrics are labelled with it.
        display_name: Name of what is served, part of every title.
        dedicated: Whether the endpoint has a host of its own; its requests may take longer.
        vllm_metrics: Whether vLLM exports its queue and its cache.
        usd_per_hour: What the replicas that always run cost, US dollars an hour; None when it is not known.
        notification_channels: Channels that alerts go to, `projects/P/notificationChannels/ID`.
        labels: Labels of the dashboard and the alert policies.
    """

    project: str
    endpoint_id: str
    display_name: str
    dedicated: bool
    vllm_metrics: bool
    usd_per_hour: float | None = None
    notification_channels: tuple[str, ...] = ()
    labels: Mapping[str, str]


class ServingTelemetry(pulumi.ComponentResource):
    """A dashboard and the alerts of one endpoint.

    Attributes:
        dashboard: Resource name of the dashboard.
        alert_policies: Resource names of the alert policies.
    """

    dashboard: pulumi.Output[str]
    alert_policies: pulumi.Output[list[str]]

    def __init__(
        self, name: str, args: ServingTelemetryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        dashboard = gcp.monitoring.Dashboard(
            name,
            project=args.project,
            dashboard_json=telemetry.dashboard(
                endpoint_id=args.endpoint_id,
                display_name=args.display_name,
                dedicated=args.dedicated,
                vllm_metrics=args.vllm_metrics,
                labels=args.labels,
            ),
            opts=child,
        )
        wanted = telemetry.alerts(
            endpoint_id=args.endpoint_id,
            display_name=args.display_name,
            dedicated=args.dedicated,
            usd_per_hour=args.usd_per_hour,
        )
        policies = [
            gcp.monitoring.AlertPolicy(
                f"{name}-{alert.role}",
                project=args.project,
                display_name=alert.title,
                combiner="OR",
                severity=alert.severity,
                conditions=[
                    {
                        "display_name": alert.title,
                        "condition_prometheus_query_language": {
                            "query": alert.query,
                            "duration": alert.duration,
                            "evaluation_interval": "60s",
                            # The metrics of a project that has never served do not exist yet.
                            "disable_metric_validation": True,
                        },
                    }
                ],
                alert_strategy={"auto_close": alert.auto_close},
                documentation={"content": alert.advice, "mime_type": "text/markdown"},
                notification_channels=list(args.notification_channels),
                user_labels=dict(args.labels),
                opts=child,
            )
            for alert in wanted
        ]
        self.dashboard = dashboard.id
        self.alert_policies = pulumi.Output.all(*(policy.name for policy in policies)).apply(list)
        self.register_outputs({"dashboard": self.dashboard, "alert_policies": self.alert_policies})
