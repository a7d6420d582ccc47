//! Calls whose bodies are JSON.

use scamp_proto::CallError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a call in JSON brought no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The call itself came to nothing, or the service answered with an error.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What was to be asked has no form in JSON; nothing was sent.
    #[error("the request's body cannot be written as JSON: {0}")]
    Request(serde_json::Error),
    /// The answer is not the JSON that was expected.
    #[error("the reply's body is not what was expected: {0}")]
    Reply(serde_json::Error),
}

/// A value as a request's body.
///
/// # Errors
///
/// [`JsonError::Request`].
pub fn to_json(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, JsonError> {
    serde_json::to_vec(value).map_err(JsonError::Request)
}

/// A value from a reply's body. An empty body is `null`, as peers send it that have nothing to say.
///
/// # Errors
///
/// [`JsonError::Reply`].
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let body = match body {
        b"" => b"null",
        body => body,
    };
    serde_json::from_slice(body).map_err(JsonError::Reply)
}
