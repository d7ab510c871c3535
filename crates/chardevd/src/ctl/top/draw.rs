//! How it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, TableState};

use super::Top;
use super::state::{Console, RATES, short};

const HEAD: [&str; 10] = [
    "ID",
    "TARGET",
    "ATTACHED",
    "VIEW",
    "OUT/s",
    "IN/s",
    "RATE",
    "DROPS",
    "CHANGES",
    "FRONT END",
];
const HELP: &str = "q quit  ↑↓ choose  Enter a attach  c change  l output  ? help";

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, table: &mut TableState) {
    let output = if top.output.is_some() { 12 } else { 0 };
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(output),
        Constraint::Length(1),
    ]);
    let [title, list, pane, foot] = parts.areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Line::styled(words(top), bold)), title);
    draw_table(frame, list, top, table);
    if let Some(lines) = &top.output {
        let id = top.chosen().map_or("", |console| console.id.as_str());
        let block = Block::new().borders(Borders::TOP).title(format!(" {id} "));
        let room = usize::from(pane.height.saturating_sub(1));
        let skipped = lines.len().saturating_sub(room);
        let lines = lines[skipped..].iter().map(|line| Line::raw(line.as_str()));
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), pane);
    }
    let said = top.said.clone();
    let said = said.or_else(|| top.changing.as_ref().map(|it| it.waits()));
    let foot_text = match (&top.prompt, &said) {
        (Some(line), _) => format!("change to KIND[,OPTION=VALUE…]: {line}"),
        (None, Some(said)) => said.clone(),
        (None, None) => HELP.to_owned(),
    };
    let style = match top.prompt.is_none() && said.is_some() {
        true => Style::new().fg(Color::Yellow),
        false => Style::new().add_modifier(Modifier::DIM),
    };
    frame.render_widget(Paragraph::new(Line::styled(foot_text, style)), foot);
}

fn words(top: &Top) -> String {
    let all = &top.consoles.all;
    let sum = |count: fn(&Console) -> u64| short(all.iter().map(count).sum());
    format!(
        "{} consoles   out {} B/s   in {} B/s   drops {}",
        all.len(),
        sum(|one| one.output),
        sum(|one| one.input),
        sum(|one| one.dropped),
    )
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, top: &Top, state: &mut TableState) {
    let widest = |text: fn(&Console) -> &str, least: usize| {
        let widths = top
            .consoles
            .all
            .iter()
            .map(|one| Line::raw(text(one)).width());
        u16::try_from(widths.max().unwrap_or(0).max(least)).unwrap_or(u16::MAX)
    };
    let rows = top.consoles.all.iter().map(|one| {
        let row = Row::new([
            one.id.clone(),
            one.target.clone(),
            one.attached.clone(),
            one.viewers.to_string(),
            short(one.output),
            short(one.input),
            one.bars(),
            short(one.dropped),
            one.changes.to_string(),
            one.front_end.clone(),
        ]);
        match one.dropped {
            0 => row,
            _ => row.style(Style::new().fg(Color::Red)),
        }
    });
    let rates = u16::try_from(RATES).unwrap_or(u16::MAX);
    let widths = [
        Constraint::Length(widest(|one| &one.id, 4).min(20)),
        Constraint::Max(widest(|one| &one.target, 6).min(40)),
        Constraint::Max(widest(|one| &one.attached, 8).min(30)),
        Constraint::Length(4),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Max(rates),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Min(9),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(HEAD).style(Style::new().add_modifier(Modifier::UNDERLINED)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, state);
}
