//! `guildhall-sim growth`: the same federation at several sizes, and what that says about larger ones.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use guildhall_sim::run::{Report, run};

use crate::{Format, RunArgs};

/// A figure of a report, with its unit.
type Figure = (&'static str, fn(&Report) -> f64);

/// What is plotted and fitted.
const FIGURES: [Figure; 4] = [
    ("delivery p99, ms", |report| f64::from(report.delivery_p99_ms)),
    ("recovery, ms", |report| report.recovered_after_ms.map_or(f64::NAN, |ms| ms as f64)),
    ("at rest, MB/node/day", |report| report.rest_bytes_per_node_day / 1e6),
    ("a record, bytes/node", |report| report.bytes_per_node_record),
];

pub(crate) fn grow(
    args: &RunArgs,
    sizes: &[usize],
    svg: Option<&Path>,
    format: Format,
) -> io::Result<bool> {
    let mut reports = Vec::new();
    for size in sizes {
        let mut plan = args.plan(args.seed);
        plan.nodes = (*size).max(2);
        plan.orgs = args.orgs.unwrap_or_else(|| (plan.nodes / 10).max(5)).min(plan.nodes);
        let report = run(&plan);
        match format {
            Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?,
            Format::Text => writeln!(io::stdout(), "{}", row(&report))?,
        }
        reports.push(report);
    }
    let mut out = io::stdout().lock();
    for (name, figure) in FIGURES {
        let points: Vec<(f64, f64)> =
            reports.iter().map(|report| (report.nodes as f64, figure(report))).collect();
        let Some((factor, exponent)) = fit(&points) else { continue };
        match format {
            Format::Text => writeln!(
                out,
                "{name}: {factor:.3} x nodes^{exponent:.2}; at 100,000 nodes {:.0}",
                factor * 100_000_f64.powf(exponent)
            )?,
            Format::Json => {
                let line = serde_json::json!({
                    "figure": name, "factor": factor, "exponent": exponent,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    if let Some(path) = svg {
        std::fs::write(path, plot(&reports))?;
    }
    Ok(true)
}

fn row(report: &Report) -> String {
    format!(
        "| {} | {} | {} | {} | {} | {:.2} | {:.4} | {} | {:.1} | {:.0} |",
        report.nodes,
        report.orgs,
        report.links_p50,
        report.delivery_p50_ms,
        report.delivery_p99_ms,
        report.duplicates_per_message,
        report.recall,
        report.recovered_after_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
        report.rest_bytes_per_node_day / 1e6,
        report.bytes_per_node_record
    )
}

/// `y = factor * x^exponent` by least squares of the logarithms.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if logs.len() < 2 || spread == 0.0 {
        return None;
    }
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let exponent = together / spread;
    Some(((mean_y - exponent * mean_x).exp(), exponent))
}

/// Four small plots with logarithmic axes, one beside the other.
fn plot(reports: &[Report]) -> String {
    const WIDE: f64 = 300.0;
    const HIGH: f64 = 220.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HIGH}\" font-family=\"sans-serif\" font-size=\"11\">\n",
        WIDE * FIGURES.len() as f64
    );
    for (number, (name, figure)) in FIGURES.iter().enumerate() {
        let left = WIDE * number as f64;
        let points: Vec<(f64, f64)> = reports
            .iter()
            .map(|report| (report.nodes as f64, figure(report)))
            .filter(|(_, y)| *y > 0.0)
            .collect();
        let ends = |of: fn(&(f64, f64)) -> f64| {
            let all = points.iter().map(of);
            let least = all.clone().fold(f64::INFINITY, f64::min);
            let most = all.fold(0.0, f64::max);
            (least.ln(), most.ln().max(least.ln() + 1.0))
        };
        let ((x0, x1), (y0, y1)) = (ends(|p| p.0), ends(|p| p.1));
        let at = |(x, y): (f64, f64)| {
            let right = left + 50.0 + (x.ln() - x0) / (x1 - x0) * (WIDE - 80.0);
            let down = HIGH - 40.0 - (y.ln() - y0) / (y1 - y0) * (HIGH - 90.0);
            (right, down)
        };
        let line: Vec<String> =
            points.iter().map(|point| at(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        // Writing into a text does not fail.
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"20\">{name}</text>", left + 50.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#26c\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for point in &points {
            let (x, y) = at(*point);
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#26c\"/>");
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0}</text>",
                y - 8.0,
                point.1
            );
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{}</text>",
                HIGH - 18.0,
                point.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
