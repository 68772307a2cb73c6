// The server of every toolchain, as a module of Spin 1: on the C bindings of Spin's SDK 2 for
// Go, which wit-bindgen 0.2 made, and which TinyGo compiles into every application.
#include <stdlib.h>
#include <string.h>

#include <spin-config.h>
#include <spin-http.h>

static bool is(const spin_http_string_t *text, const char *other) {
    return text->len == strlen(other) && memcmp(text->ptr, other, text->len) == 0;
}

static void header(spin_http_response_t *answer, const char *name, const char *value) {
    spin_http_headers_t *all = &answer->headers.val;
    all->ptr = realloc(all->ptr, (all->len + 1) * sizeof *all->ptr);
    spin_http_string_dup(&all->ptr[all->len].f0, name);
    spin_http_string_dup(&all->ptr[all->len].f1, value);
    all->len += 1;
    answer->headers.is_some = true;
}

static void body(spin_http_response_t *answer, const void *bytes, size_t length) {
    answer->body.is_some = true;
    answer->body.val.ptr = malloc(length + 1);
    answer->body.val.len = length;
    memcpy(answer->body.val.ptr, bytes, length);
}

static int by_name(const void *a, const void *b) {
    const spin_http_string_t *one = a, *other = b;
    size_t both = one->len < other->len ? one->len : other->len;
    int order = memcmp(one->ptr, other->ptr, both);
    return order ? order : (int)one->len - (int)other->len;
}

// The headers that begin with `x-`, in order.
static void own_headers(spin_http_request_t *request, spin_http_response_t *answer) {
    spin_http_headers_t *all = &request->headers;
    qsort(all->ptr, all->len, sizeof *all->ptr, by_name);
    char text[4096];
    size_t length = 0;
    for (size_t i = 0; i < all->len; i++) {
        spin_http_string_t *parts[] = {&all->ptr[i].f0, &all->ptr[i].f1};
        if (parts[0]->len < 2 || memcmp(parts[0]->ptr, "x-", 2) != 0) {
            continue;
        }
        for (int part = 0; part < 2; part++) {
            if (length + parts[part]->len + 3 > sizeof text) {
                abort();
            }
            memcpy(text + length, parts[part]->ptr, parts[part]->len);
            length += parts[part]->len;
            memcpy(text + length, part ? "\n" : ": ", 2);
            length += part ? 1 : 2;
        }
    }
    body(answer, text, length);
}

// What the manifest says, or the error that it says nothing.
static void variable(spin_http_response_t *answer) {
    spin_config_string_t key;
    spin_config_string_set(&key, "colour");
    spin_config_expected_string_error_t result;
    spin_config_get_config(&key, &result);
    spin_config_string_t *text = result.is_err ? &result.val.err.val.other : &result.val.ok;
    answer->status = result.is_err ? 500 + result.val.err.tag : 200;
    body(answer, text->ptr, text->len);
}

void spin_http_handle_http_request(spin_http_request_t *request, spin_http_response_t *answer) {
    memset(answer, 0, sizeof *answer);
    answer->status = 200;
    if (is(&request->uri, "/hello")) {
        const char *text = "Hello from a toolchain\n";
        header(answer, "content-type", "text/plain");
        header(answer, "x-made-by", "toolchain");
        body(answer, text, strlen(text));
    } else if (is(&request->uri, "/echo")) {
        header(answer, "content-type", "application/octet-stream");
        body(answer, request->body.val.ptr, request->body.val.len);
    } else if (is(&request->uri, "/headers")) {
        own_headers(request, answer);
    } else if (is(&request->uri, "/large")) {
        const size_t length = 2 << 20;
        char *text = malloc(length);
        for (size_t i = 0; i < length; i++) {
            text[i] = "0123456789abcdef"[i % 16];
        }
        body(answer, text, length);
    } else if (is(&request->uri, "/empty")) {
        answer->status = 204;
    } else if (is(&request->uri, "/variable")) {
        variable(answer);
    } else {
        answer->status = 404;
    }
}
