"use strict";

// The server keeps this stream open until the session ends.
const state = document.getElementById("live");

const show = (name, text) => {
  state.dataset.state = name;
  state.textContent = text;
};

const listen = () => {
  const stream = new EventSource("/live");
  stream.onopen = () => show("connected", "Connected. A logout on another device shows here within seconds.");
  stream.onerror = () => {
    show("lost", "The connection is lost. Connecting again …");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000); // EventSource does not try again by itself
  };
  stream.addEventListener("logged-out", () => {
    stream.close();
    const main = document.getElementById("content");
    main.replaceChildren(document.getElementById("logged-out").content);
    main.querySelector("h1").focus();
    document.querySelector("nav").remove();
    document.getElementById("profile").remove();
  });
};

listen();
