//! Every setting of a run, and where its value comes from.

use moco::config::DataFacts;
use moco::plan::{self, Plan, resolve};
use moco_data::Dataset;
use moco_page::page::Setting;
use toml::{Table, Value};

/// What was derived from the images, of the lines of a log's beginning: all but the first, which says
/// what the run was made with.
pub fn notes(beginning: &[String]) -> Vec<String> {
    beginning.iter().skip(1).cloned().collect()
}

/// The settings in the order of `config.toml`. What a setting without a note is compared with is
/// what such images alone would lead to; without the images that is not known.
pub fn table(config: &Plan, notes: &[String], images: Option<&Dataset>) -> Vec<Setting> {
    let Some(own) = flat(config) else { return Vec::new() };
    let usual = images.and_then(|images| usual(config, images));
    let origin = |key: &str, value: &Value| {
        let begin = format!("{key} = ");
        let note = notes.iter().find_map(|note| note.strip_prefix(&begin)?.split_once(": "));
        match (note, &usual) {
            (Some((_, why)), _) => why.to_owned(),
            (None, Some(usual)) => {
                let same = usual.iter().any(|(other, value_of)| other == key && value_of == value);
                if same { "usual for the method and such images" } else { "given" }.to_owned()
            }
            (None, None) => String::new(),
        }
    };
    let setting = |(key, value): &(String, Value)| Setting {
        key: key.clone(),
        value: value.to_string(),
        origin: origin(key, value),
    };
    own.iter().map(setting).collect()
}

/// What the method with this backbone, and images like these, lead to.
fn usual(config: &Plan, images: &Dataset) -> Option<Vec<(String, Value)>> {
    let mut tree = Table::new();
    let path = config.data.path.display().to_string();
    plan::set(&mut tree, "data.path", path.into()).ok()?;
    plan::set(&mut tree, "method.name", config.method.name().into()).ok()?;
    plan::set(&mut tree, "model.backbone", config.model.backbone.clone().into()).ok()?;
    flat(&resolve(&tree, &DataFacts::of(images).ok()?).ok()?.config)
}

/// `section.key` and value of every setting.
fn flat(config: &Plan) -> Option<Vec<(String, Value)>> {
    let tree: Table = config.to_toml().ok()?.parse().ok()?;
    let mut settings = Vec::new();
    for (section, values) in tree {
        match values {
            Value::Table(values) => {
                let named =
                    values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value));
                settings.extend(named);
            }
            value => settings.push((section, value)),
        }
    }
    Some(settings)
}
