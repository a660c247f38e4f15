"use strict";
new EventSource("/events").addEventListener("status", (event) => {
  document.getElementById("document").textContent = JSON.stringify(JSON.parse(event.data), null, 1);
});
