"use strict";

// The profile cookie is only for display.
const greeting = document.getElementById("profile"); // only if a user has logged in
const profile = document.cookie.split("; ").find((c) => /^(__Host-)?profile=/.test(c));
if (greeting && profile) {
  const { name } = JSON.parse(decodeURIComponent(profile.slice(profile.indexOf("=") + 1)));
  greeting.textContent = name;
  greeting.hidden = false;
}
