"use strict";

// The profile cookie is for us to show, and for nothing else.
const profile = document.cookie.split("; ").find((c) => /^(__Host-)?profile=/.test(c));
if (profile) {
  const { name } = JSON.parse(decodeURIComponent(profile.slice(profile.indexOf("=") + 1)));
  const greeting = document.getElementById("profile");
  greeting.textContent = name;
  greeting.hidden = false;
}

// Count down to the end of the login, then ask the server what it thinks.
const left = document.getElementById("left");
if (left) {
  const end = Date.now() + 1000 * Number(left.dataset.seconds);
  const tick = () => {
    const seconds = Math.ceil((end - Date.now()) / 1000);
    if (seconds < 0) {
      location.reload();
      return;
    }
    left.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    setTimeout(tick, 1000);
  };
  tick();
}
