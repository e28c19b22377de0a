"use strict";

// The profile cookie is for us to show, and for nothing else.
const greeting = document.getElementById("profile"); // where somebody is logged in
const profile = document.cookie.split("; ").find((c) => /^(__Host-)?profile=/.test(c));
if (greeting && profile) {
  const { name } = JSON.parse(decodeURIComponent(profile.slice(profile.indexOf("=") + 1)));
  greeting.textContent = name;
  greeting.hidden = false;
}
