//! What is said to an MLflow server, by its REST interface 2.0.

use moco_data::{Service, ServiceError};
use serde_json::{Value, json};

/// Metrics in one request at most, by the interface's limit.
pub const MOST_METRICS: usize = 1000;
/// Parameters in one request at most, likewise.
const MOST_PARAMETERS: usize = 100;
/// Characters of a parameter's value at most; a server may allow more.
const LONGEST_VALUE: usize = 500;

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub key: String,
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp: u64,
    pub step: usize,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Finished,
    Failed,
    Killed,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Finished => "FINISHED",
            Status::Failed => "FAILED",
            Status::Killed => "KILLED",
        }
    }
}

/// A server, and the run on it that is written to.
pub struct Mlflow {
    service: Service,
    pub run: String,
}

impl Mlflow {
    /// Begins a run called `name` in `experiment`, which is made if need be.
    pub fn begin(
        service: Service,
        experiment: &str,
        name: &str,
        now: u64,
    ) -> Result<Mlflow, ServiceError> {
        let experiment = experiment_id(&service, experiment)?;
        let tags = [("mlflow.runName", name), ("mlflow.source.name", "moco")];
        let tags = tags.map(|(key, value)| json!({"key": key, "value": value}));
        let body = json!({"experiment_id": experiment, "run_name": name, "start_time": now,
                          "tags": tags});
        let answer = post(&service, "runs/create", &body)?;
        let run = text(&answer, "/run/info/run_id")?;
        Ok(Mlflow { service, run })
    }

    /// Goes on with a run that is on the server already.
    pub fn resume(service: Service, run: &str) -> Result<Mlflow, ServiceError> {
        post(&service, "runs/update", &json!({"run_id": run, "status": "RUNNING"}))?;
        Ok(Mlflow { service, run: run.to_owned() })
    }

    /// Writes settings, once.
    pub fn parameters(&self, all: &[(String, String)]) -> Result<(), ServiceError> {
        for part in all.chunks(MOST_PARAMETERS) {
            let object = |(key, value): &(String, String)| {
                let value: String = value.chars().take(LONGEST_VALUE).collect();
                json!({"key": key, "value": value})
            };
            let part: Vec<Value> = part.iter().map(object).collect();
            post(&self.service, "runs/log-batch", &json!({"run_id": self.run, "params": part}))?;
        }
        Ok(())
    }

    /// Writes values, at most [`MOST_METRICS`].
    pub fn metrics(&self, points: &[Point]) -> Result<(), ServiceError> {
        let object = |point: &Point| {
            let Point { key, value, timestamp, step } = point;
            json!({"key": key, "value": value, "timestamp": timestamp, "step": step})
        };
        let metrics: Vec<Value> = points.iter().map(object).collect();
        post(&self.service, "runs/log-batch", &json!({"run_id": self.run, "metrics": metrics}))?;
        Ok(())
    }

    /// Says how the run ended.
    pub fn end(&self, status: Status, now: u64) -> Result<(), ServiceError> {
        let body = json!({"run_id": self.run, "status": status.word(), "end_time": now});
        post(&self.service, "runs/update", &body)?;
        Ok(())
    }
}

fn experiment_id(service: &Service, name: &str) -> Result<String, ServiceError> {
    let path = format!(
        "/api/2.0/mlflow/experiments/get-by-name?experiment_name={}",
        percent_encoded(name)
    );
    match service.get(&path) {
        Ok(answer) => text(&parsed(&answer)?, "/experiment/experiment_id"),
        Err(ServiceError::Refused { status: 404, .. }) => {
            text(&post(service, "experiments/create", &json!({"name": name}))?, "/experiment_id")
        }
        Err(other) => Err(other),
    }
}

fn post(service: &Service, method: &str, body: &Value) -> Result<Value, ServiceError> {
    parsed(&service.post(&format!("/api/2.0/mlflow/{method}"), &body.to_string())?)
}

fn parsed(answer: &str) -> Result<Value, ServiceError> {
    serde_json::from_str(answer).map_err(|_| ServiceError::Away(NOT_MLFLOW.to_owned()))
}

fn text(answer: &Value, pointer: &str) -> Result<String, ServiceError> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| ServiceError::Away(NOT_MLFLOW.to_owned()))
}

const NOT_MLFLOW: &str = "what answers there is no MLflow server: check the address of --track";

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn names_of_experiments_may_be_anything() {
        assert_eq!(percent_encoded("my runs/ü&1"), "my%20runs%2F%C3%BC%261");
    }
}
