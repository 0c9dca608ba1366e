// JavaScript values in and out, and vanity::Error as a JavaScript error with code and hint.
#pragma once

#include <napi.h>

#include <string>

#include "platform/error.hpp"

namespace vanity::addon {

inline Napi::Value to_js(Napi::Env env, const Error& error) {
  Napi::Error wrapped = Napi::Error::New(env, error.what());
  wrapped.Set("code", Napi::String::New(env, error.code()));
  wrapped.Set("hint", Napi::String::New(env, error.hint()));
  return wrapped.Value();
}

// Runs `body`, turning what it throws into a JavaScript exception.
template <class Body>
auto guarded(Napi::Env env, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw Napi::Error(env, to_js(env, error));
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

inline std::string text(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

inline double number(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
}

inline bool flag(const Napi::Object& object, const char* key) {
  return object.Get(key).ToBoolean().Value();
}

}  // namespace vanity::addon
