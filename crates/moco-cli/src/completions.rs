//! `moco completions` and `moco man`: what shells and `man` know of the command line.

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::output::check_folder;
use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use moco::checkpoint::write_atomically;
use std::fs;

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "moco", &mut text);
    print!("{}", String::from_utf8_lossy(&text));
}

/// Writes a page for the program and for each of its commands.
pub fn man(args: &ManArgs) -> anyhow::Result<()> {
    let folder = &args.out;
    check_folder(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    for (name, page) in &pages {
        write_atomically(&folder.join(format!("{name}.1")), page)?;
    }
    println!("wrote {} pages to {}", pages.len(), folder.display());
    println!("read one: man {}", moco::files::shell_word(&folder.join("moco.1")));
    Ok(())
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    pages.push((name, page));
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    for command in shown {
        collect(command, pages)?;
    }
    Ok(())
}
