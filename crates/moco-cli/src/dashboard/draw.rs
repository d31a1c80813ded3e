//! The dashboard's picture of a state.

use super::state::{Curve, State};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Wrap};

const KEYS: &str = " f full or recent  p pause  s save  q stop ";
/// Rows of the messages, their frame included: a quarter of the screen within these.
const MESSAGES: [u16; 2] = [4, 8];
/// Columns of the health's frame: a share of the screen within these, so that its lines fit.
const HEALTH: [u16; 2] = [32, 44];
/// Rows below which a chart shows nothing; of several as many are drawn as have room.
const CHART: u16 = 6;

/// Draws all of it.
pub fn draw(frame: &mut Frame, state: &State) {
    let Rect { width, height, .. } = frame.area();
    let areas = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(6),
        Constraint::Length((height / 4).clamp(MESSAGES[0], MESSAGES[1])),
        Constraint::Length(1),
    ]);
    let [top, middle, messages, keys] = areas.areas(frame.area());
    progress(frame, state, top);
    let room = (width * 3 / 10).clamp(HEALTH[0], HEALTH[1]).min(width / 2);
    let columns = [Constraint::Fill(1), Constraint::Length(room)];
    let [curves, health] = Layout::horizontal(columns).areas(middle);
    self::curves(frame, state, curves);
    let lines: Vec<Line> = state.health().into_iter().map(Line::from).collect();
    let lines = Paragraph::new(lines).wrap(Wrap { trim: true });
    frame.render_widget(lines.block(Block::bordered().title(" health ")), health);
    self::messages(frame, state, messages);
    let reversed = Style::default().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(KEYS).style(reversed), keys);
}

/// The last messages, as many as have room, the long ones over several rows.
fn messages(frame: &mut Frame, state: &State, area: Rect) {
    let block = Block::bordered().title(" messages ");
    let Rect { width, height, .. } = block.inner(area);
    let rows = state.messages.iter().flat_map(|text| wrapped(text, usize::from(width)));
    let rows: Vec<Line> = rows.map(Line::from).collect();
    let skipped = rows.len().saturating_sub(usize::from(height));
    let lines: Vec<Line> = rows.into_iter().skip(skipped).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// `text` in rows of at most `width` characters, broken between words where there is a gap.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (part, piece) in letters.chunks(width.max(1)).enumerate() {
            let row = rows.last_mut().expect("one row at least");
            let used = row.chars().count();
            let gap = usize::from(used > 0 && part == 0);
            if used + gap + piece.len() > width && used > 0 {
                rows.push(piece.iter().collect());
            } else {
                row.extend(std::iter::repeat_n(' ', gap).chain(piece.iter().copied()));
            }
        }
    }
    rows
}

fn progress(frame: &mut Frame, state: &State, area: Rect) {
    let title = match &state.start {
        _ if state.paused => " paused: p goes on ".to_owned(),
        Some(start) => format!(" {} on {} images ", start.method, start.images),
        None => " moco ".to_owned(),
    };
    let label = match state.stage {
        Some((stage, done, total)) => format!("{stage}: {done} of {total}"),
        None => state.progress(),
    };
    let gauge = Gauge::default()
        .block(Block::bordered().title(title))
        .gauge_style(Style::default().fg(Color::Blue))
        .ratio(state.share())
        .label(label);
    frame.render_widget(gauge, area);
}

fn curves(frame: &mut Frame, state: &State, area: Rect) {
    let has = |curve: &Curve| !curve.since(0.0).is_empty();
    let mut shown: Vec<(&str, &Curve, Color)> = vec![("loss", &state.loss, Color::Cyan)];
    if has(&state.knn) {
        shown.push(("kNN, %", &state.knn, Color::Green));
    }
    if has(&state.rank) {
        shown.push(("RankMe", &state.rank, Color::Yellow));
    }
    shown.truncate(usize::from((area.height / CHART).max(1)));
    let parts: Vec<Constraint> = shown.iter().map(|_| Constraint::Fill(1)).collect();
    let areas = Layout::vertical(parts).split(area);
    for ((name, curve, color), area) in shown.into_iter().zip(areas.iter()) {
        let kind = if state.recent { "recent" } else { "full" };
        let points = typical(curve.since(state.first_shown()));
        chart(frame, *area, &format!(" {name} ({kind}) "), points, color);
    }
}

/// A curve without a beginning far below all that follows, which would press it flat: with a queue of
/// random vectors the first loss is near 0.
fn typical(points: &[(f64, f64)]) -> &[(f64, f64)] {
    let rest = &points[points.len().div_ceil(40).min(points.len())..];
    if rest.len() < 20 {
        return points;
    }
    let ends = |(low, high): (f64, f64), p: &(f64, f64)| (low.min(p.1), high.max(p.1));
    let (low, high) = rest.iter().fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    if points[0].1 < low - (high - low) / 2.0 { rest } else { points }
}

fn chart(frame: &mut Frame, area: Rect, title: &str, points: &[(f64, f64)], color: Color) {
    let block = Block::bordered().title(title);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return frame.render_widget(block, area);
    };
    let fold = |start, pick: fn(f64, f64) -> f64| points.iter().fold(start, |m, p| pick(m, p.1));
    let (low, high) = (fold(f64::INFINITY, f64::min), fold(f64::NEG_INFINITY, f64::max));
    // A flat curve lies in the middle.
    let margin = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1.0) };
    let style = Style::default().add_modifier(Modifier::DIM);
    let x = Axis::default()
        .style(style)
        .bounds([first.0, last.0.max(first.0 + 1.0)])
        .labels([format!("{}", first.0), format!("{}", last.0)]);
    let y = Axis::default()
        .style(style)
        .bounds([low - margin, high + margin])
        .labels([format!("{low:.3}"), format!("{high:.3}")]);
    let data = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Style::default().fg(color))
        .data(points);
    frame.render_widget(Chart::new(vec![data]).block(block).x_axis(x).y_axis(y), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use moco::eval::Quality;
    use moco::train::{EpochReport, Event, Start, StepReport};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(row).collect::<Vec<_>>().join("\n")
    }

    fn trained() -> State {
        let mut state = State::default();
        state.see(&Event::Start(Start {
            method: "moco-v2".to_owned(),
            images: 2000,
            steps_per_epoch: 10,
            total_steps: 40,
            first_step: 0,
            batch_size: 64,
            parameters: 700_000,
            chance_loss: 5.56,
        }));
        for step in 1..=10 {
            state.see(&Event::Step(StepReport {
                step,
                epoch: 0,
                loss: 5.5 - 0.1 * step as f64,
                lr: 0.03,
                metrics: vec![("accuracy", 0.25)],
                seconds: 0.5,
                data_wait: 0.05,
            }));
        }
        state.see(&Event::Epoch(EpochReport {
            epoch: 1,
            step: 10,
            loss: 5.0,
            lr: 0.03,
            images_per_second: 128.0,
            data_wait_share: 0.1,
            seconds: 5.0,
            knn: Some(0.41),
            knn_protocol: None,
            probe: Some(0.52),
            quality: Some(Quality {
                rank_me: 31.2,
                lidar: 12.5,
                alignment: 0.4,
                uniformity: -2.1,
                images: 500,
                dim: 128,
            }),
            feature_std: Some((0.08, 0.0884)),
            rank_seconds: Vec::new(),
        }));
        state
    }

    #[test]
    fn the_screen_shows_progress_curves_health_messages_and_keys() {
        let text = screen(&trained(), 120, 36);
        for words in [
            "moco-v2 on 2000 images",
            "step 10 of 40",
            "128 images/s",
            "data wait 10 %",
            "loss (full)",
            "kNN, % (full)",
            "RankMe (full)",
            "loss 4.5000 (chance 5.56)",
            "accuracy 0.2500",
            "RankMe 31.2, LiDAR 12.5 of 128",
            "linear probe 52.00 %",
            "epoch 1/4",
            "f full or recent  p pause  s save  q stop",
        ] {
            assert!(text.contains(words), "no `{words}` in\n{text}");
        }
        assert!(text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "a curve:\n{text}");
    }

    #[test]
    fn what_was_asked_for_shows() {
        let mut state = trained();
        state.recent = true;
        state.paused = true;
        assert!(screen(&state, 120, 36).contains("paused: p goes on"));
        assert!(screen(&state, 120, 36).contains("loss (recent)"));
        state.see(&Event::Progress { stage: "kNN", done: 3, total: 9 });
        assert!(screen(&state, 120, 36).contains("kNN: 3 of 9"));
    }

    /// On 80 x 24 no line of the health is cut, and the loss has a chart of its own.
    #[test]
    fn a_small_window_shows_the_most_important() {
        let text = screen(&trained(), 80, 24);
        for words in ["loss (full)", "kNN, % (full)", "(healthy 0.0884)", "linear probe 52.00 %"] {
            assert!(text.contains(words), "no `{words}` in\n{text}");
        }
        assert!(!screen(&trained(), 80, 18).contains("kNN, % (full)"), "no room for a second");
    }

    /// The news stands at the end of a sentence as often as at its beginning.
    #[test]
    fn long_messages_go_over_several_rows() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a path/of/parts b", 6), ["a", "path/o", "f/part", "s b"]);
        assert_eq!(wrapped("", 5), [""]);
        let mut state = trained();
        let words: Vec<String> = (0..30).map(|i| format!("word{i}")).collect();
        state.see(&Event::Warning(words.join(" ")));
        let text = screen(&state, 80, 24);
        assert!(text.contains("word0 ") && text.contains("word29"), "{text}");
    }

    #[test]
    fn a_beginning_far_below_the_rest_is_left_out() {
        let queue: Vec<(f64, f64)> = (0..60)
            .map(|i| (f64::from(i), if i == 0 { 0.01 } else { 10.0 - 0.01 * f64::from(i) }))
            .collect();
        assert_eq!(typical(&queue)[0].0, 2.0);
        let falling: Vec<(f64, f64)> =
            (0..60).map(|i| (f64::from(i), 9.0 / f64::from(i + 1))).collect();
        assert_eq!(typical(&falling).len(), 60);
        assert_eq!(typical(&queue[..5]).len(), 5);
    }

    /// Whatever the window's size, and before anything has happened.
    #[test]
    fn a_tiny_window_is_no_fault() {
        for (width, height) in [(1, 1), (20, 5), (3, 40), (200, 2)] {
            screen(&trained(), width, height);
            screen(&State::default(), width, height);
        }
    }
}
