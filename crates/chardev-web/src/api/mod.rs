//! What can be asked for: one file a resource.

mod cast;
mod changes;
mod consoles;
mod doors;
mod fleet;
mod history;
mod screen;
mod timeline;
mod told;
mod typing;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chardev_monitor::Json;
use utoipa::openapi::{Info, OpenApi, Paths};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Answer, Failure};
use crate::login::guard;
use crate::site::Site;
use crate::{page, stream};

mod body;

/// How long the body of a request may be.
const BODY: usize = 64 << 10;
/// Where the API begins.
const BASE: &str = "/api/v1";

/// Everything that is served.
pub(crate) fn router(site: &Site) -> Router {
    let (api, document) = documented().split_for_parts();
    let text = document.to_json().unwrap_or_default();
    let document = move || {
        let text = text.clone();
        async move { ([("content-type", "application/json")], text) }
    };
    let api = api
        .route(&format!("{BASE}/openapi.json"), get(document))
        .route(&format!("{BASE}/{{*rest}}"), axum::routing::any(unknown));
    api.fallback(page::file)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(site.clone(), guard))
        .with_state(site.clone())
}

fn documented() -> OpenApiRouter<Site> {
    let api = OpenApiRouter::new()
        .routes(routes!(doors::me))
        .routes(routes!(doors::login))
        .routes(routes!(doors::logout))
        .routes(routes!(consoles::all))
        .routes(routes!(consoles::one))
        .routes(routes!(stream::stream))
        .routes(routes!(history::history))
        .routes(routes!(screen::screen))
        .routes(routes!(timeline::timeline))
        .routes(routes!(typing::input))
        .routes(routes!(typing::send_break))
        .routes(routes!(typing::size))
        .routes(routes!(typing::mark))
        .routes(routes!(typing::takeover))
        .routes(routes!(told::output))
        .routes(routes!(told::events))
        .routes(routes!(changes::change))
        .routes(routes!(changes::policy))
        .routes(routes!(changes::schema))
        .routes(routes!(fleet::all))
        .routes(routes!(fleet::page));
    let about = Info::builder()
        .title("chardevd")
        .description(Some("Consoles over HTTP; see docs/web.md"))
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    OpenApiRouter::with_openapi(OpenApi::new(about, Paths::new()))
        .nest(BASE, api)
        .routes(routes!(doors::healthy))
        .routes(routes!(doors::ready))
}

async fn unknown() -> Response {
    let status = StatusCode::NOT_FOUND;
    let words = format!("there is no such resource; see {BASE}/openapi.json");
    Failure::new(status, "not-found", words).into_response()
}

/// What a command has answered, for whoever asked.
type Asked = Result<Answer, Failure>;

/// What something that only succeeds is answered with.
fn done() -> Answer {
    Answer(Json::empty())
}
