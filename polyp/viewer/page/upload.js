"use strict";
/** Shows the chosen files, each as a small picture if the browser knows its format. */
function list(input) {
  const items = [...input.files].map((file) => {
    const item = document.createElement("li"), picture = new Image();
    picture.alt = "";
    picture.addEventListener("error", () => picture.remove());
    picture.src = URL.createObjectURL(file);
    item.append(picture, file.name);
    return item;
  });
  input.closest(".drop").querySelector("ul").replaceChildren(...items);
}

function setWorking(working) {
  document.querySelector("form button").disabled = working;
  document.getElementById("working").hidden = !working;
}

for (const input of document.querySelectorAll("input")) {
  input.addEventListener("change", () => list(input));
}
document.querySelector("form").addEventListener("submit", () => setWorking(true));
window.addEventListener("pageshow", () => {  // also when the reader comes back to it
  setWorking(false);
  document.querySelectorAll("input").forEach(list);
});
