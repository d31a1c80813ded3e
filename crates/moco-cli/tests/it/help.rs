use crate::moco;

#[test]
fn without_arguments_there_is_help() {
    let outcome = moco::<&str>([]);
    assert_eq!(outcome.code, Some(0));
    for command in [
        "pretrain", "check", "eval", "embed", "export", "views", "doctor", "demo", "methods",
        "compare", "report",
    ] {
        assert!(outcome.stdout.contains(command), "{command}");
    }
}

#[test]
fn help_of_pretrain_explains_the_words() {
    let outcome = moco(["pretrain", "--help"]);
    assert_eq!(outcome.code, Some(0));
    for word in ["query", "key", "queue", "momentum", "temperature", "METHOD-cifar10"] {
        assert!(outcome.stdout.contains(word), "{word}");
    }
}

#[test]
fn a_misspelt_command_or_flag_is_corrected() {
    let outcome = moco(["pretrian"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("'pretrain'"), "{}", outcome.stderr);

    let outcome = moco(["pretrain", "--epoch", "3"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("'--epochs'"), "{}", outcome.stderr);
}

#[test]
fn devices_lists_the_cpu() {
    let outcome = moco(["devices"]);
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stdout.starts_with("cpu ") && outcome.stdout.contains("kernels"));
}
