//! Answers with the variable `?name=…` (`greeting`) through the async interface
//! `spin:variables/variables@3.0.0`.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import spin:variables/variables@3.0.0;
        }

        package spin:variables@3.0.0 {
            interface variables {
                variant error {
                    invalid-name(string),
                    undefined(string),
                    provider(string),
                    other(string),
                }
                get: async func(name: string) -> result<string, error>;
            }
        }
    ",
    generate_all,
});

struct Variables;
wasip3::http::service::export!(Variables);

impl Guest for Variables {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let name = guests::query_of(&path, "name").unwrap_or_else(|| "greeting".to_owned());
        Ok(match spin::variables::variables::get(name).await {
            Ok(value) => p3::respond(200, value),
            Err(error) => p3::respond(500, format!("{error:?}\n")),
        })
    }
}
