//! `moco pretrain --dashboard`: curves, progress and health on the whole terminal, and keys.
//!
//! A thread of its own draws and reads keys, so that both work while a step takes long. The terminal
//! is given back at the end, at the first signal, and before a panic is told.

mod draw;
mod state;

use crate::terminal;
use moco::train::{Event, Observer};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{
    self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use state::State;
use std::io::{self, Stderr, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Time between two pictures.
const PICTURE: Duration = Duration::from_millis(100);

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The dashboard, as the run's observer.
pub struct Dashboard {
    shared: Arc<Shared>,
    screen: Option<JoinHandle<()>>,
}

/// What the training thread and the screen's have in common.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    save: AtomicBool,
    paused: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dashboard {
    /// Takes the terminal. `stop` is what the run is asked to stop by.
    ///
    /// # Errors
    /// A terminal that does not do as it is told.
    pub fn open(stop: &'static AtomicBool) -> io::Result<Dashboard> {
        let shared = Arc::new(Shared::default());
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let screen = execute!(stderr(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stderr())))
            .inspect_err(|_| give_back())?;
        let (said, theirs) = (Arc::clone(&shared), Arc::clone(&shared));
        terminal::divert(move |text| said.state().say(text));
        let show = move || show(&theirs, screen, stop);
        let screen = thread::Builder::new().name("dashboard".into()).spawn(show);
        let screen = screen.inspect_err(|_| give_back())?;
        Ok(Dashboard { shared, screen: Some(screen) })
    }
}

impl Observer for Dashboard {
    fn event(&mut self, event: &Event) {
        self.shared.state().see(event);
        if matches!(event, Event::Step(_)) {
            while self.shared.paused.load(Ordering::Relaxed)
                && !self.shared.save.load(Ordering::Relaxed)
                && !self.shared.over.load(Ordering::Relaxed)
            {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn asks_to_save(&mut self) -> bool {
        self.shared.save.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(screen) = self.screen.take() {
            let _ = screen.join();
        }
        give_back();
    }
}

/// Draws and listens until the run is over or is asked to stop; then the terminal is given back, so
/// that whatever ends the program finds it in order.
fn show(shared: &Shared, mut screen: Terminal<CrosstermBackend<Stderr>>, stop: &AtomicBool) {
    while !shared.over.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
        if screen.draw(|frame| draw::draw(frame, &shared.state())).is_err() {
            break;
        }
        // A terminal without input is still one to draw on.
        if !event::poll(PICTURE).unwrap_or(false) {
            continue;
        }
        if let Ok(Input::Key(key)) = event::read() {
            press(shared, key, stop);
        }
    }
    shared.over.store(true, Ordering::Relaxed);
    give_back();
}

fn press(shared: &Shared, key: KeyEvent, stop: &AtomicBool) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => stop.store(true, Ordering::Relaxed),
        KeyCode::Char('c') if with_control => stop.store(true, Ordering::Relaxed),
        KeyCode::Char('f') => {
            let mut state = shared.state();
            state.recent = !state.recent;
        }
        KeyCode::Char('p') => {
            let mut state = shared.state();
            state.paused = !state.paused;
            shared.paused.store(state.paused, Ordering::Relaxed);
        }
        KeyCode::Char('s') => shared.save.store(true, Ordering::Relaxed),
        _ => {}
    }
}

/// Gives the terminal back, if it is taken; may be called at any time and from any thread.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        terminal::no_longer_diverted();
        // Nothing is left to do about a terminal that does not obey.
        let _ = disable_raw_mode();
        let _ = execute!(stderr(), LeaveAlternateScreen);
    }
}
