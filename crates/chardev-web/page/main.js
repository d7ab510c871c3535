// Logs in with the code of the link, if there is one, and lists the consoles.
const api = "/api/v1";
const code = location.hash.slice(1);
if (location.pathname === "/login" && code) {
  await fetch(`${api}/login`, {
    method: "POST",
    headers: { "X-Requested-By": "chardev", "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  history.replaceState(null, "", "/");
}
const list = document.getElementById("consoles");
const answer = await fetch(`${api}/consoles`);
const consoles = answer.ok ? await answer.json() : [{ id: (await answer.json()).error.message }];
list.replaceChildren(...consoles.map(({ id }) => {
  const item = document.createElement("li");
  item.textContent = id;
  return item;
}));
